//! What is wrong with the settings of a training beyond their types.

use super::super::Mistake;
use super::{
    EarlyExitParams, LongSamples, LoraParams, OptimizerName, Packing, SaveStrategy, Schedule, SftParams, TrainOn,
    TrainOnEos,
};

/// Returns all mistakes.
pub(super) fn check(params: &SftParams) -> Vec<Mistake> {
    let mut mistakes = Mistakes(Vec::new());
    mistakes.extent(params);
    mistakes.packing(params);
    mistakes.optimizer(params);
    mistakes.schedule(params);
    mistakes.loss(params);
    mistakes.preference(params);
    mistakes.evaluation(params);
    for (field, message) in params.lora.iter().flat_map(LoraParams::mistakes) {
        mistakes.demand(false, field, message);
    }
    mistakes.early_exit(params);
    mistakes.0
}

struct Mistakes(Vec<Mistake>);

impl Mistakes {
    fn demand(&mut self, ok: bool, field: &str, message: impl Into<String>) {
        if !ok {
            self.0.push(Mistake::new(field, message));
        }
    }

    /// A setting that does nothing is a mistake: its writer believes that it does something.
    fn without_effect(&mut self, set: bool, field: &str, unless: &str) {
        self.demand(!set, field, format!("has no effect without `{unless}`"));
    }

    /// A number that is at least `least` and below `most`.
    fn share(&mut self, field: &str, value: f64) {
        self.demand((0.0..1.0).contains(&value), field, format!("{value} is not at least 0 and below 1"));
    }

    fn extent(&mut self, params: &SftParams) {
        let epochs = params.epochs;
        self.demand(!params.data.is_empty(), "data", "there is no data to train on");
        self.demand(epochs > 0.0 && epochs <= 1000.0, "epochs", format!("{epochs} is not between 0 and 1000"));
        self.demand(params.max_steps != Some(0), "max_steps", "0 steps train nothing");
        if params.save_strategy == SaveStrategy::Epoch {
            self.demand(epochs > 1.0, "save_strategy", format!("there is no epoch before the end of {epochs}"));
            let why = "cannot end it early: each epoch is an output, and one may not come";
            self.demand(params.max_steps.is_none(), "max_steps", format!("{why} (`save_strategy: epoch`)"));
            let early = params.early_stopping_patience.is_some();
            self.demand(!early, "early_stopping_patience", format!("{why} (`save_strategy: epoch`)"));
        }
        let minutes = params.checkpoint_minutes;
        self.demand(minutes >= 0.0, "checkpoint_minutes", format!("{minutes} is below 0"));
        self.demand(params.checkpoint_steps != Some(0), "checkpoint_steps", "must be 1 or more");
    }

    fn packing(&mut self, params: &SftParams) {
        let length = params.sequence_len;
        self.demand(length >= 2, "sequence_len", format!("{length} leaves no token to predict"));
        self.demand(params.micro_batch_size > 0, "micro_batch_size", "must be 1 or more");
        self.demand(params.gradient_accumulation_steps > 0, "gradient_accumulation_steps", "must be 1 or more");
        self.demand(params.packing_bin_size != Some(0), "packing_bin_size", "must be 1 or more");
        self.demand(params.packing_group_size != Some(0), "packing_group_size", "must be 1 or more");
        if params.packing != Packing::Multipack {
            self.without_effect(params.packing_bin_size.is_some(), "packing_bin_size", "packing: multipack");
            self.without_effect(params.packing_group_size.is_some(), "packing_group_size", "packing: multipack");
        }
    }

    fn optimizer(&mut self, params: &SftParams) {
        let rate = params.learning_rate;
        self.demand(rate > 0.0 && rate.is_finite(), "learning_rate", format!("{rate} is not above 0"));
        self.demand(params.weight_decay >= 0.0, "weight_decay", format!("{} is below 0", params.weight_decay));
        self.share("adam_beta1", params.adam_beta1);
        self.share("adam_beta2", params.adam_beta2);
        self.demand(params.adam_epsilon > 0.0, "adam_epsilon", format!("{} is not above 0", params.adam_epsilon));
        self.demand(params.max_grad_norm >= 0.0, "max_grad_norm", format!("{} is below 0", params.max_grad_norm));
        self.share("muon_momentum", params.muon_momentum.unwrap_or_default());
        let useless = params.muon_momentum.is_some() && params.optimizer != OptimizerName::Muon;
        self.without_effect(useless, "muon_momentum", "optimizer: muon");
    }

    fn schedule(&mut self, params: &SftParams) {
        self.share("warmup_ratio", params.warmup_ratio);
        self.share("min_lr_ratio", params.min_lr_ratio);
        let floor = params.min_lr_ratio > 0.0 && params.lr_scheduler == Schedule::Constant;
        self.demand(!floor, "min_lr_ratio", "a constant learning rate does not fall");
        if let Some(ratio) = params.decay_ratio {
            let sound = ratio > 0.0 && ratio <= 1.0;
            self.demand(sound, "decay_ratio", format!("{ratio} is not above 0 and at most 1"));
            self.without_effect(params.lr_scheduler != Schedule::Wsd, "decay_ratio", "lr_scheduler: wsd");
        }
    }

    fn loss(&mut self, params: &SftParams) {
        self.share("label_smoothing", params.label_smoothing);
        if let Some(alpha) = params.neftune_noise_alpha {
            self.demand(alpha > 0.0 && alpha.is_finite(), "neftune_noise_alpha", format!("{alpha} is not above 0"));
        }
        let eos = params.train_on_eos != TrainOnEos::Turn && params.train_on == TrainOn::All;
        self.demand(!eos, "train_on_eos", "has no effect with `train_on: all`, which trains every token");
        if let Some(threshold) = params.loss_watchdog_threshold {
            self.demand(threshold > 0.0, "loss_watchdog_threshold", format!("{threshold} is not above 0"));
        }
        self.demand(params.loss_watchdog_patience != Some(0), "loss_watchdog_patience", "must be 1 or more");
        let useless = params.loss_watchdog_patience.is_some() && params.loss_watchdog_threshold.is_none();
        self.without_effect(useless, "loss_watchdog_patience", "loss_watchdog_threshold");
        if let Some(date) = &params.template_date {
            self.demand(is_date(date), "template_date", format!("`{date}` is no date; write it as `2024-07-26`"));
        }
    }

    fn preference(&mut self, params: &SftParams) {
        let Some(dpo) = &params.dpo else { return };
        let beta = dpo.beta;
        self.demand(beta > 0.0 && beta.is_finite(), "dpo.beta", format!("{beta} is not above 0"));
        let share = dpo.label_smoothing;
        self.demand(
            (0.0..0.5).contains(&share),
            "dpo.label_smoothing",
            format!("{share} is not at least 0 and below 0.5"),
        );
        let no_effect = "has no effect with `dpo`, which learns the answers";
        self.demand(params.train_on == TrainOn::Assistant, "train_on", no_effect);
        self.demand(params.train_on_eos == TrainOnEos::Turn, "train_on_eos", no_effect);
        let smooth = params.label_smoothing > 0.0;
        self.demand(!smooth, "label_smoothing", "is for texts; that of pairs is `dpo.label_smoothing`");
        let split = params.long_samples == LongSamples::Split;
        self.demand(!split, "long_samples", "cannot be `split` with `dpo`: an answer is judged whole");
    }

    fn early_exit(&mut self, params: &SftParams) {
        let Some(exits) = &params.early_exit else { return };
        for (field, message) in EarlyExitParams::mistakes(exits) {
            self.demand(false, field, message);
        }
        let with = |other: &str| format!("cannot stand beside `{other}`");
        let lora = format!("{}: exits are trained with all weights", with("lora"));
        self.demand(params.lora.is_none(), "early_exit", lora);
        let dpo = format!("{}: exits learn texts", with("dpo"));
        self.demand(params.dpo.is_none(), "early_exit", dpo);
        if exits.freeze_backbone && exits.branches.is_none() {
            let same = "looks at the loss of the last layer, which stays as it is (`early_exit.freeze_backbone`)";
            self.demand(params.early_stopping_patience.is_none(), "early_stopping_patience", same);
            self.demand(!params.load_best_model_at_end, "load_best_model_at_end", same);
        }
    }

    fn evaluation(&mut self, params: &SftParams) {
        let size = params.val_set_size;
        let whole = size < 1.0 || size.fract() == 0.0;
        self.demand(size >= 0.0 && size.is_finite(), "val_set_size", format!("{size} is below 0"));
        self.demand(whole, "val_set_size", format!("{size} is neither a share below 1 nor a number of samples"));
        self.demand(params.eval_steps != Some(0), "eval_steps", "must be 1 or more");
        self.demand(params.evals_per_epoch != Some(0), "evals_per_epoch", "must be 1 or more");
        self.demand(params.early_stopping_patience != Some(0), "early_stopping_patience", "must be 1 or more");
        let both = params.eval_steps.is_some() && params.evals_per_epoch.is_some();
        self.demand(!both, "evals_per_epoch", "is given beside `eval_steps`; only one can be followed");
        if !params.evaluates() {
            let data = "val_set_size` or `eval_data";
            self.without_effect(params.eval_steps.is_some(), "eval_steps", data);
            self.without_effect(params.evals_per_epoch.is_some(), "evals_per_epoch", data);
            self.without_effect(params.early_stopping_patience.is_some(), "early_stopping_patience", data);
            self.without_effect(params.load_best_model_at_end, "load_best_model_at_end", data);
        }
    }
}

/// Says whether a text looks like a date, year first. Whether the month has that day is seen when the node runs.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &str, digits: usize, range: std::ops::RangeInclusive<u32>| {
        part.len() == digits && part.parse().is_ok_and(|number| range.contains(&number))
    };
    matches!(parts[..], [year, month, day]
        if number(year, 4, 1..=9999) && number(month, 2, 1..=12) && number(day, 2, 1..=31))
}
