//! What a merge is to do, whichever way it was written: the node's own fields become a MergeKit configuration.

use super::{OpCx, OpError, Parent};
use crate::spec::params::{
    Compat, ConfigModel, ConfigSlice, ConfigSource, MergeConfig, MergeMethod, MergeParams, Precision, Settings,
};
use crate::tensor::Dtype;

/// A configuration over models that are there.
pub(super) struct Recipe<'a> {
    pub(super) config: MergeConfig,
    pub(super) models: Vec<Parent<'a>>,
    /// What each model is called in the configuration.
    names: Vec<String>,
    pub(super) rounding: Rounding,
    /// Whether the result has the type of the base (or of the first model), as with the node's own fields.
    pub(super) as_first: bool,
    pub(super) compat: Compat,
}

/// In which types a merge computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rounding {
    /// As MergeKit: inputs are converted first, and every result is rounded.
    Every(Option<Dtype>),
    /// In f32 throughout; the result is of this type, or of that of the models.
    Last(Option<Dtype>),
}

/// Models that are merged with each other, whole or a range of layers.
pub(super) struct Group<'a> {
    pub(super) sources: Vec<Source<'a>>,
    /// Which of the sources is the base.
    pub(super) base: Option<usize>,
    pub(super) parameters: Option<&'a Settings>,
    /// The parameters of the module around it.
    pub(super) module: Option<&'a Settings>,
}

/// Groups that make up a model, or a part of one.
pub(super) struct Module<'a> {
    pub(super) name: Option<&'a str>,
    /// What the names of its tensors begin with; empty for all.
    pub(super) prefixes: &'a [String],
    pub(super) groups: std::ops::Range<usize>,
    /// Whether the groups are ranges of layers.
    pub(super) sliced: bool,
}

/// One of the models of a group.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) model: usize,
    /// Its layers; all of them if nothing is said.
    pub(super) layers: Option<[usize; 2]>,
    pub(super) parameters: Option<&'a Settings>,
}

impl<'a> Recipe<'a> {
    /// Returns what the settings ask for.
    pub(super) fn new(params: &MergeParams, cx: &OpCx<'a>) -> Result<Self, OpError> {
        let Some(config) = &params.config else { return Self::own(params, cx) };
        let mut models = Vec::new();
        let mut names = Vec::new();
        for (name, slot) in params.config_models() {
            models.push(Parent::open(cx.inputs.one(&slot)?)?);
            names.push(name.to_owned());
        }
        let dtype = config.dtype.as_deref().and_then(Dtype::named);
        let rounding = match params.precision {
            Precision::Mergekit => Rounding::Every(dtype),
            Precision::High => Rounding::Last(dtype),
        };
        let config = (**config).clone();
        Ok(Self { config, models, names, rounding, as_first: false, compat: params.compat })
    }

    /// Returns what the node's own fields ask for.
    fn own(params: &MergeParams, cx: &OpCx<'a>) -> Result<Self, OpError> {
        let base = if params.base.is_some() { Some(cx.inputs.one("base")?) } else { None };
        let inputs = base.into_iter().chain(cx.inputs.list("models"));
        let models = inputs.map(Parent::open).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> = (0..models.len()).map(|i| i.to_string()).collect();
        if let Some((t, weights)) = params.short() {
            check_short(params.method, t, weights.as_deref(), models.len())?;
        }
        let config = params.as_config(&names).ok_or_else(|| OpError::new("the method is missing"))?;
        // The short ways to write `linear` and `slerp` never rounded on the way; with equal types it is the same.
        let rounding = match (params.short(), params.precision, params.compat) {
            (_, _, Compat::Older) | (None, Precision::Mergekit, _) => Rounding::Every(None),
            _ => Rounding::Last(None),
        };
        Ok(Self { config, models, names, rounding, as_first: true, compat: params.compat })
    }

    /// Returns the number of the model that the configuration calls so.
    pub(super) fn model(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// Returns the number of the base of the whole merge.
    pub(super) fn base(&self) -> Option<usize> {
        self.model(&self.config.base_model.as_ref()?.0)
    }

    /// Returns whether inputs are taken in the types they have, and the result has that of the base.
    pub(super) fn keeps_base_type(&self) -> bool {
        self.compat == Compat::Older
            && self.config.merge_method == MergeMethod::Slerp
            && self.rounding == Rounding::Every(None)
            && self.config.vocabulary().is_none()
    }

    /// Returns the number of the model that donates configuration and tokenizer: the base, or the first one listed.
    pub(super) fn donor(&self) -> usize {
        self.base().unwrap_or(0)
    }

    /// Returns the groups of models, and which of them belong together.
    pub(super) fn groups(&self) -> (Vec<Group<'_>>, Vec<Module<'_>>) {
        let (mut groups, mut modules) = (Vec::new(), Vec::new());
        for body in self.config.bodies() {
            let first = groups.len();
            match (body.models, body.slices) {
                (Some(models), _) => groups.push(self.whole(models, body.parameters)),
                (None, slices) => {
                    groups.extend(slices.into_iter().flatten().map(|slice| self.slice(slice, body.parameters)));
                }
            }
            modules.push(Module {
                name: body.module,
                prefixes: body.prefixes,
                groups: first..groups.len(),
                sliced: body.models.is_none(),
            });
        }
        (groups, modules)
    }

    fn whole<'s>(&'s self, models: &'s [ConfigModel], module: Option<&'s Settings>) -> Group<'s> {
        let source = |model: &'s ConfigModel| {
            let parameters = model.parameters.as_ref();
            Some(Source { model: self.model(&model.model.0)?, layers: None, parameters })
        };
        let mut sources: Vec<Source<'_>> = models.iter().filter_map(source).collect();
        let base = self.base();
        if let Some(base) = base
            && !sources.iter().any(|source| source.model == base)
        {
            sources.push(Source { model: base, layers: None, parameters: None });
        }
        let base = sources.iter().position(|source| Some(source.model) == base);
        Group { sources, base, parameters: None, module }
    }

    fn slice<'s>(&'s self, slice: &'s ConfigSlice, module: Option<&'s Settings>) -> Group<'s> {
        let source = |each: &'s ConfigSource| {
            let layers = Some(each.layer_range);
            Some(Source { model: self.model(&each.model.0)?, layers, parameters: each.parameters.as_ref() })
        };
        let sources: Vec<Source<'_>> = slice.sources.iter().filter_map(source).collect();
        let base = slice.base_model.as_ref().map_or_else(|| self.base(), |base| self.model(&base.0));
        let base = sources.iter().position(|source| Some(source.model) == base);
        Group { sources, base, parameters: slice.parameters.as_ref(), module }
    }
}

/// Says what is wrong with a ratio or weights for so many models.
fn check_short(
    method: Option<MergeMethod>,
    t: Option<f64>,
    weights: Option<&[f64]>,
    models: usize,
) -> Result<(), OpError> {
    match (t, weights) {
        (Some(_), _) if models != 2 => {
            let message = format!("`t` goes from the base to one model, and {} are given", models.saturating_sub(1));
            Err(OpError::new(message))
        }
        (Some(_), _) => Ok(()),
        (None, Some(weights)) if weights.len() == models && method == Some(MergeMethod::Linear) => Ok(()),
        (None, Some(weights)) => Err(OpError::new(format!("{} weights are given for {models} models", weights.len()))),
        (None, None) => Err(OpError::new("the ratio `t` is missing").help("write `parameters: {t: 0.5}`")),
    }
}
