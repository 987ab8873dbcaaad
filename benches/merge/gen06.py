# Makes q06-base, q06-a and q06-b in the current folder: 1.2 GB each. Needs torch and safetensors.
# Random-weight models of Qwen3-0.6B shape, bf16, one file each (tied head: no lm_head.weight)
import json, os, sys, torch
from safetensors.torch import save_file
V,H,I,L,NH,NKV,HD=151936,1024,3072,28,16,8,128
def shapes():
    yield "model.embed_tokens.weight",(V,H)
    for i in range(L):
        p=f"model.layers.{i}."
        yield p+"input_layernorm.weight",(H,)
        yield p+"mlp.down_proj.weight",(H,I)
        yield p+"mlp.gate_proj.weight",(I,H)
        yield p+"mlp.up_proj.weight",(I,H)
        yield p+"post_attention_layernorm.weight",(H,)
        yield p+"self_attn.k_norm.weight",(HD,)
        yield p+"self_attn.k_proj.weight",(NKV*HD,H)
        yield p+"self_attn.o_proj.weight",(H,NH*HD)
        yield p+"self_attn.q_norm.weight",(HD,)
        yield p+"self_attn.q_proj.weight",(NH*HD,H)
        yield p+"self_attn.v_proj.weight",(NKV*HD,H)
    yield "model.norm.weight",(H,)
cfg=dict(architectures=["Qwen3ForCausalLM"],attention_bias=False,attention_dropout=0.0,bos_token_id=151643,eos_token_id=151645,
 head_dim=HD,hidden_act="silu",hidden_size=H,initializer_range=0.02,intermediate_size=I,max_position_embeddings=40960,
 max_window_layers=28,model_type="qwen3",num_attention_heads=NH,num_hidden_layers=L,num_key_value_heads=NKV,rms_norm_eps=1e-6,
 rope_scaling=None,rope_theta=1000000,sliding_window=None,tie_word_embeddings=True,torch_dtype="bfloat16",use_cache=True,use_sliding_window=False,vocab_size=V)
def gen(out,seed,base=None):
    os.makedirs(out,exist_ok=True)
    g=torch.Generator().manual_seed(seed); sd={}
    for n,s in shapes():
        if "norm" in n: t=1+0.1*torch.randn(s,generator=g)
        else: t=0.02*torch.randn(s,generator=g)
        if base is not None: t=base[n].float()+0.1*(t-(1 if "norm" in n else 0))
        sd[n]=t.to(torch.bfloat16)
    save_file(sd,os.path.join(out,"model.safetensors"),metadata={"format":"pt"})
    json.dump(cfg,open(os.path.join(out,"config.json"),"w"),indent=2)
    return sd
b=gen("q06-base",1); gen("q06-a",2,b); gen("q06-b",3,b)
print(sum(v.numel() for v in b.values()))
