//! The merge methods and what each of them takes, in one table.
//!
//! MergeKit ignores a parameter that its method does not know, so that `wieght: 0.3` merges with something else. Here the
//! table is what is looked up, and a name that is not in it is a mistake.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How weights are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeMethod {
    /// The weighted mean.
    Linear,
    /// Along the arc between two tensors taken as vectors, rather than the chord.
    Slerp,
    /// The arc between two tensors or two task vectors, by weights and optionally row by row.
    Nuslerp,
    /// The weighted mean of several directions on the sphere.
    Multislerp,
    /// The Riemannian mean of directions on the sphere.
    Karcher,
    /// Weighted differences to the base, added to it.
    TaskArithmetic,
    /// Task arithmetic over the largest differences whose signs agree.
    Ties,
    /// Task arithmetic over differences dropped at random.
    DareLinear,
    /// As `dare_linear`, with the signs of `ties`.
    DareTies,
    /// Task arithmetic without the smallest and the very largest differences.
    Breadcrumbs,
    /// As `breadcrumbs`, with the signs of `ties`.
    BreadcrumbsTies,
    /// Differences dropped at random, large ones less often, with the signs of `ties`.
    Della,
    /// As `della`, without the signs.
    DellaLinear,
    /// The mean moved towards the base by the angle between the differences.
    ModelStock,
    /// Differences weighted by their energy, with the signs of `ties`.
    Sce,
    /// Differences that only one model has are kept whole, shared ones are averaged.
    Ram,
    /// As `ram`, with those of one model amplified.
    RamplusTl,
    /// The base moved towards the other model where they are close.
    Nearswap,
    /// The differences that matter most, by their effect on the distribution.
    ArceeFusion,
    /// The tensors of one model as they are, for layers taken from several.
    Passthrough,
}

/// What a parameter is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParameterKind {
    /// A number.
    Number,
    /// A whole number.
    Whole,
    /// Yes or no.
    Flag,
}

/// Of what a parameter has one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The tensor.
    Shared,
    /// Each model.
    Each,
    /// Each model but the base.
    Others,
}

/// A parameter of a method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: ParameterKind,
    /// Of what it has one value.
    pub scope: Scope,
    /// Its value where none is given; flags are 0 or 1. NaN where there is none and none is needed.
    pub default: Option<f64>,
}

/// What a method does with a base model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseUse {
    /// It is a model like the others.
    Ignored,
    /// Differences are taken to it if there is one.
    Optional,
    /// There must be one.
    Required,
}

/// How many models a method takes, the base among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takes {
    /// What it does with a base.
    pub base: BaseUse,
    /// The fewest models.
    pub least: usize,
    /// The most models.
    pub most: usize,
    /// Whether the base counts.
    pub with_base: bool,
}

const fn number(name: &'static str, scope: Scope, default: f64) -> Parameter {
    Parameter { name, kind: ParameterKind::Number, scope, default: Some(default) }
}

const fn needed(name: &'static str, scope: Scope) -> Parameter {
    Parameter { name, kind: ParameterKind::Number, scope, default: None }
}

const fn flag(name: &'static str, default: bool) -> Parameter {
    Parameter { name, kind: ParameterKind::Flag, scope: Scope::Shared, default: Some(if default { 1.0 } else { 0.0 }) }
}

use MergeMethod as M;
use Scope::{Each, Others, Shared};

impl MergeMethod {
    /// Returns the word in `method:`.
    pub fn name(self) -> &'static str {
        match self {
            M::Linear => "linear",
            M::Slerp => "slerp",
            M::Nuslerp => "nuslerp",
            M::Multislerp => "multislerp",
            M::Karcher => "karcher",
            M::TaskArithmetic => "task_arithmetic",
            M::Ties => "ties",
            M::DareLinear => "dare_linear",
            M::DareTies => "dare_ties",
            M::Breadcrumbs => "breadcrumbs",
            M::BreadcrumbsTies => "breadcrumbs_ties",
            M::Della => "della",
            M::DellaLinear => "della_linear",
            M::ModelStock => "model_stock",
            M::Sce => "sce",
            M::Ram => "ram",
            M::RamplusTl => "ramplus_tl",
            M::Nearswap => "nearswap",
            M::ArceeFusion => "arcee_fusion",
            M::Passthrough => "passthrough",
        }
    }

    /// Returns what the method may be given.
    pub fn parameters(self) -> Vec<Parameter> {
        let whole = |name, default| Parameter { kind: ParameterKind::Whole, ..number(name, Shared, default) };
        match self {
            M::Linear => vec![needed("weight", Each), flag("normalize", true)],
            M::Slerp | M::Nearswap => vec![needed("t", Shared)],
            M::Nuslerp => {
                vec![needed("weight", Others), flag("nuslerp_row_wise", false), flag("nuslerp_flatten", true)]
            }
            M::Multislerp => {
                vec![needed("weight", Others), flag("normalize_weights", true), number("eps", Shared, 1e-8)]
            }
            M::Karcher => vec![whole("max_iter", 10.0), number("tol", Shared, 1e-5)],
            M::ModelStock => vec![flag("filter_wise", false)],
            M::Sce => vec![flag("int8_mask", false), number("select_topk", Shared, 1.0)],
            M::Ram => vec![number("epsilon", Shared, 1e-5)],
            M::RamplusTl => {
                vec![number("r", Shared, 0.1), number("alpha", Shared, 0.2), number("epsilon", Shared, 1e-5)]
            }
            M::ArceeFusion => Vec::new(),
            M::Passthrough => vec![number("scale", Each, f64::NAN)],
            _ => self.task_parameters(),
        }
    }

    fn task_parameters(self) -> Vec<Parameter> {
        let random = matches!(self, M::DareLinear | M::DareTies | M::Della | M::DellaLinear);
        let mut parameters = vec![
            flag("int8_mask", false),
            flag("normalize", matches!(self, M::Ties | M::Della)),
            flag("rescale", random),
            number("lambda", Shared, 1.0),
            needed("weight", Others),
            number("density", Others, 1.0),
        ];
        match self {
            M::Breadcrumbs | M::BreadcrumbsTies => parameters.push(number("gamma", Others, 0.01)),
            M::Della | M::DellaLinear => parameters.push(number("epsilon", Others, 0.15)),
            _ => {}
        }
        parameters
    }

    /// Returns how many models the method takes.
    pub fn takes(self) -> Takes {
        let (base, least, most, with_base) = match self {
            M::Linear | M::Karcher => (BaseUse::Ignored, 1, usize::MAX, true),
            M::Passthrough => (BaseUse::Ignored, 1, 1, true),
            M::Slerp | M::Nearswap | M::ArceeFusion => (BaseUse::Required, 2, 2, true),
            M::Nuslerp => (BaseUse::Optional, 2, 2, false),
            M::Multislerp => (BaseUse::Optional, 1, usize::MAX, false),
            M::ModelStock => (BaseUse::Required, 3, usize::MAX, true),
            _ => (BaseUse::Required, 1, usize::MAX, true),
        };
        Takes { base, least, most, with_base }
    }
}
