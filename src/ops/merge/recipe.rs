//! What a merge is to do, whichever way it was written: the node's own fields become a MergeKit configuration.

use super::{OpCx, OpError, Parent};
use crate::spec::params::{
    ConfigModel, ConfigSource, InputRef, MergeConfig, MergeMethod, MergeParameters, MergeParams, Precision, Setting,
    Settings,
};
use crate::tensor::Dtype;

/// A configuration over models that are there.
pub(super) struct Recipe<'a> {
    pub(super) config: MergeConfig,
    pub(super) models: Vec<Parent<'a>>,
    /// What each model is called in the configuration.
    names: Vec<String>,
    pub(super) rounding: Rounding,
}

/// In which types a merge computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rounding {
    /// As MergeKit: inputs are converted first, and every result is rounded.
    Every(Option<Dtype>),
    /// In f32 throughout; the result is of this type, or of that of the models.
    Last(Option<Dtype>),
    /// In f32 throughout; the result is of the type of the first model.
    First,
}

/// Models that are merged with each other, whole or a range of layers.
pub(super) struct Group<'a> {
    pub(super) sources: Vec<Source<'a>>,
    /// Which of the sources is the base.
    pub(super) base: Option<usize>,
    pub(super) parameters: Option<&'a Settings>,
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
        Ok(Self { config: (**config).clone(), models, names, rounding })
    }

    /// Returns what the node's own fields ask for.
    fn own(params: &MergeParams, cx: &OpCx<'a>) -> Result<Self, OpError> {
        let inputs = std::iter::once(cx.inputs.one("base")?).chain(cx.inputs.list("models"));
        let models = inputs.map(Parent::open).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> = (0..models.len()).map(|i| i.to_string()).collect();
        let method = params.method.ok_or_else(|| OpError::new("the method is missing"))?;
        let none = MergeParameters { t: None, weights: None };
        let weights = own_weights(method, params.parameters.as_ref().unwrap_or(&none), models.len())?;
        let set = |name: &str, value: f64| Some(Settings::from([(name.to_owned(), Setting(value.into()))]));
        let model = |(i, name): (usize, &String)| ConfigModel {
            model: InputRef(name.clone()),
            parameters: if method == MergeMethod::Linear { set("weight", weights[i]) } else { None },
        };
        let config = MergeConfig {
            merge_method: method,
            models: Some(names.iter().enumerate().map(model).collect()),
            slices: None,
            base_model: Some(InputRef("0".into())),
            parameters: if method == MergeMethod::Slerp { set("t", weights[1]) } else { None },
            dtype: None,
            out_dtype: None,
            tokenizer_source: None,
            tokenizer: None,
            chat_template: None,
        };
        Ok(Self { config, models, names, rounding: Rounding::First })
    }

    /// Returns the number of the model that the configuration calls so.
    pub(super) fn model(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// Returns the number of the base of the whole merge.
    pub(super) fn base(&self) -> Option<usize> {
        self.model(&self.config.base_model.as_ref()?.0)
    }

    /// Returns the number of the model that donates configuration and tokenizer: the base, or the first one listed.
    pub(super) fn donor(&self) -> usize {
        self.base().unwrap_or(0)
    }

    /// Returns the groups of models, and whether they are ranges of layers.
    pub(super) fn groups(&self) -> (Vec<Group<'_>>, bool) {
        if let Some(models) = &self.config.models {
            let source = |model: &'_ ConfigModel| self.model(&model.model.0);
            let mut sources: Vec<Source<'_>> = models
                .iter()
                .filter_map(|model| {
                    Some(Source { model: source(model)?, layers: None, parameters: model.parameters.as_ref() })
                })
                .collect();
            let base = self.base();
            if let Some(base) = base
                && !sources.iter().any(|source| source.model == base)
            {
                sources.push(Source { model: base, layers: None, parameters: None });
            }
            let base = sources.iter().position(|source| Some(source.model) == base);
            return (vec![Group { sources, base, parameters: None }], false);
        }
        let groups = self.config.slices.iter().flatten().map(|slice| {
            let source = |source: &'_ ConfigSource| self.model(&source.model.0);
            let sources: Vec<Source<'_>> = slice
                .sources
                .iter()
                .filter_map(|each| {
                    let layers = Some(each.layer_range);
                    Some(Source { model: source(each)?, layers, parameters: each.parameters.as_ref() })
                })
                .collect();
            let base = slice.base_model.as_ref().map_or_else(|| self.base(), |base| self.model(&base.0));
            let base = sources.iter().position(|source| Some(source.model) == base);
            Group { sources, base, parameters: slice.parameters.as_ref() }
        });
        (groups.collect(), true)
    }
}

/// Returns the weight of every model; for slerp the last one is `t`.
fn own_weights(method: MergeMethod, given: &MergeParameters, models: usize) -> Result<Vec<f64>, OpError> {
    match (given.t, &given.weights) {
        (Some(_), _) if models != 2 => {
            Err(OpError::new(format!("`t` goes from the base to one model, and {} are given", models - 1)))
        }
        (Some(t), _) => Ok(vec![1.0 - t, t]),
        (None, Some(weights)) if weights.len() == models && method == MergeMethod::Linear => Ok(weights.clone()),
        (None, Some(weights)) => Err(OpError::new(format!("{} weights are given for {models} models", weights.len()))),
        (None, None) => Err(OpError::new("the ratio `t` is missing").help("write `parameters: {t: 0.5}`")),
    }
}
