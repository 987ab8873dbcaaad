//! An adapter in PEFT's format, understood: which matrices belong to which tensor of the model.
//!
//! Names in the file are those of PEFT's wrappers: `base_model.model.` in front, and the part after the module's name says
//! what a tensor is. Everything in the file must have its place; a half without its other half, a rank that the
//! configuration does not give, a tensor that fits nothing are refused, all of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::config::AdapterConfig;
use super::{OpError, several};
use crate::tensor::TensorFile;

/// The name of the weights.
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";

/// What PEFT puts in front of every name.
pub(super) const PREFIX: &str = "base_model.model.";

/// An adapter.
#[derive(Debug)]
pub(super) struct Adapter {
    pub(super) config: AdapterConfig,
    pub(super) file: TensorFile,
    /// By the name of the module in the model: `model.layers.0.self_attn.q_proj`.
    pub(super) modules: BTreeMap<String, Module>,
    /// Tensors that take the place of the model's, by the name there: what they are called in the file.
    pub(super) replaced: BTreeMap<String, String>,
}

/// The matrices of a module: what they are called in the file.
#[derive(Debug, Default)]
pub(super) struct Module {
    pub(super) down: String,
    pub(super) up: String,
    /// Added to the module's bias.
    pub(super) bias: Option<String>,
    /// The lengths of the rows, of an adapter that learns them apart (DoRA).
    pub(super) magnitude: Option<String>,
    /// Whether the module is an embedding, whose matrix lies the other way round.
    pub(super) embedding: bool,
}

/// What a tensor of the file is, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    Down,
    Up,
    Bias,
    Magnitude,
    EmbeddingDown,
    EmbeddingUp,
}

const ROLES: [(&str, Role); 7] = [
    (".lora_A.weight", Role::Down),
    (".lora_B.weight", Role::Up),
    (".lora_B.bias", Role::Bias),
    (".lora_magnitude_vector", Role::Magnitude),
    (".lora_magnitude_vector.weight", Role::Magnitude),
    (".lora_embedding_A", Role::EmbeddingDown),
    (".lora_embedding_B", Role::EmbeddingUp),
];

impl Adapter {
    /// Opens an adapter's folder.
    pub(super) fn open(dir: &Path) -> Result<Self, OpError> {
        let config = AdapterConfig::read(dir)?;
        let path = dir.join(WEIGHTS);
        if !path.is_file() {
            let pickle = dir.join("adapter_model.bin").is_file();
            let help = if pickle {
                "its adapter_model.bin is a pickle, which may run any code; save it again with PEFT, as safetensors"
            } else {
                "an adapter is a folder with adapter_config.json and adapter_model.safetensors, as PEFT writes it"
            };
            return Err(OpError::new(format!("{} holds no {WEIGHTS}", dir.display())).help(help));
        }
        let file = TensorFile::open(&path).map_err(|error| OpError::caused("cannot read the adapter", error))?;
        let mut adapter = Self { config, file, modules: BTreeMap::new(), replaced: BTreeMap::new() };
        adapter.sort()?;
        Ok(adapter)
    }

    /// Gives every tensor of the file its place.
    fn sort(&mut self) -> Result<(), OpError> {
        let mut mistakes = Vec::new();
        let mut halves: BTreeMap<String, BTreeMap<&str, (Role, String)>> = BTreeMap::new();
        for name in self.file.names() {
            let inner = name.strip_prefix(PREFIX).unwrap_or(name);
            let role = ROLES.iter().find_map(|(end, role)| Some((*end, *role, inner.strip_suffix(end)?)));
            if let Some((end, role, module)) = role {
                halves.entry(module.to_owned()).or_default().insert(end, (role, name.to_owned()));
                continue;
            }
            // What PEFT keeps whole: modules to save, biases, and embeddings that were trained or made larger.
            let plain = inner.replace(".base_layer.", ".").replace(".modules_to_save.", ".");
            let whole = [".weight", ".bias"].iter().any(|end| plain.ends_with(end)) && !plain.contains("lora_");
            if !whole {
                mistakes.push(format!("`{name}` is nothing that is known of LoRA"));
            } else if let Some(other) = self.replaced.insert(plain, name.to_owned()) {
                mistakes.push(format!("`{name}` and `{other}` take the same place"));
            }
        }
        for (module, parts) in halves {
            match self.module(&module, &parts) {
                Ok(found) => {
                    self.modules.insert(module, found);
                }
                Err(why) => mistakes.push(format!("`{module}`: {why}")),
            }
        }
        if self.modules.is_empty() && self.replaced.is_empty() && mistakes.is_empty() {
            mistakes.push("it holds no tensors".into());
        }
        let head = format!("the adapter {} cannot be applied:", self.file.path().display());
        if mistakes.is_empty() { Ok(()) } else { Err(several(&head, &mistakes)) }
    }

    fn module(&self, name: &str, parts: &BTreeMap<&str, (Role, String)>) -> Result<Module, String> {
        let roles: BTreeSet<String> = parts.values().map(|(role, _)| format!("{role:?}")).collect();
        let part = |wanted: Role| parts.values().find(|(role, _)| *role == wanted).map(|(_, name)| name.clone());
        if roles.len() != parts.len() {
            return Err("the same matrix is there twice".into());
        }
        let (linear, embedding) = (part(Role::Down).zip(part(Role::Up)), part(Role::EmbeddingDown));
        let embedding = embedding.zip(part(Role::EmbeddingUp));
        let (down, up) = match (&linear, &embedding) {
            (Some(pair), None) | (None, Some(pair)) => pair.clone(),
            (Some(_), Some(_)) => return Err("it has the matrices of a layer and of an embedding".into()),
            (None, None) => return Err("it has one half of a pair of matrices, and not the other".into()),
        };
        let module =
            Module { down, up, bias: part(Role::Bias), magnitude: part(Role::Magnitude), embedding: linear.is_none() };
        let wanted = 2 + usize::from(module.bias.is_some()) + usize::from(module.magnitude.is_some());
        if parts.len() != wanted {
            return Err("it has matrices that do not belong together".into());
        }
        self.check(name, &module)?;
        Ok(module)
    }

    /// Holds the matrices of a module against each other and against the configuration.
    fn check(&self, name: &str, module: &Module) -> Result<(), String> {
        if !self.config.targets(name) {
            return Err("the adapter's configuration does not name this module, and PEFT would leave it out".into());
        }
        let (down, up) = (self.shape(&module.down), self.shape(&module.up));
        let ([rank, inside], [outside, other]) = (down, up) else {
            let kind = if down.len() > 2 { ": adapters of convolutions are not known here" } else { "" };
            return Err(format!("its matrices have the shapes {down:?} and {up:?}{kind}"));
        };
        if rank != other {
            return Err(format!("its matrices {down:?} and {up:?} do not fit each other"));
        }
        if *rank == 0 || *inside == 0 || *outside == 0 {
            return Err(format!("its matrices {down:?} and {up:?} are empty"));
        }
        let wanted = self.config.rank(name);
        if *rank as u64 != wanted {
            return Err(format!("its rank is {rank}, and the configuration says {wanted}"));
        }
        if self.config.dora != module.magnitude.is_some() {
            let what = if self.config.dora { "is missing, and" } else { "is there, and" };
            return Err(format!("its magnitude {what} the configuration says `use_dora: {}`", self.config.dora));
        }
        if self.config.lora_bias != module.bias.is_some() && !module.embedding {
            let what = if self.config.lora_bias { "missing" } else { "there" };
            return Err(format!("`lora_B.bias` is {what}, and `lora_bias` is {}", self.config.lora_bias));
        }
        // PEFT has written magnitudes as columns, too.
        let length = module.magnitude.as_ref().map(|name| self.shape(name).iter().product::<usize>());
        if length.is_some_and(|length| length != *outside) {
            return Err(format!("its magnitude does not have {outside} numbers"));
        }
        match module.bias.as_ref().map(|name| self.shape(name)) {
            Some(shape) if shape != [*outside] => Err(format!("its bias has the shape {shape:?}, not [{outside}]")),
            _ => Ok(()),
        }
    }

    /// Returns the shape of a tensor that is there.
    pub(super) fn shape(&self, name: &str) -> &[usize] {
        self.file.get(name).map_or(&[], |view| view.shape)
    }

    /// Returns the numbers of a tensor that is there.
    pub(super) fn numbers(&self, name: &str) -> Vec<f32> {
        self.file.get(name).map_or_else(Vec::new, |view| view.to_f32())
    }
}
