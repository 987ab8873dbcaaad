//! The values of a method's parameters for one tensor: by filter and gradient, from the nearest place that has one.
//!
//! A source's own parameters come first, then those of its slice, then those of the whole configuration, then the
//! default. Parameters of the tensor are looked up by its name in the result, those of a model by its name there.

use super::OpError;
use super::part::Values;
use super::plan::Planned;
use super::recipe::{Group, Recipe};
use crate::spec::params::{Parameter, Scope, Settings};

/// Returns the parameters of a tensor, and those of each of its sources.
pub(super) fn values(
    recipe: &Recipe<'_>,
    group: &Group<'_>,
    tensor: &Planned,
) -> Result<(Values, Vec<Values>), OpError> {
    let parameters = recipe.config.merge_method.parameters();
    let outer = [group.parameters, group.module, recipe.config.parameters.as_ref()];
    let mut shared = Values::default();
    for parameter in parameters.iter().filter(|parameter| parameter.scope == Scope::Shared) {
        let value =
            look_up(parameter, &outer, &tensor.name, tensor.t).ok_or_else(|| missing(parameter, &tensor.name, None))?;
        shared.0.push((parameter.name, value));
    }
    let mut each = Vec::new();
    for (i, input) in tensor.inputs.iter().map(|(i, input)| (*i, input)) {
        let source = &group.sources[i];
        let mut values = Values::default();
        let scopes = [source.parameters, group.parameters, group.module, recipe.config.parameters.as_ref()];
        for parameter in &parameters {
            let wanted = parameter.scope == Scope::Each || (parameter.scope == Scope::Others && group.base != Some(i));
            if wanted {
                let value = look_up(parameter, &scopes, input, tensor.t)
                    .ok_or_else(|| missing(parameter, input, Some(recipe.models[source.model].name)))?;
                values.0.push((parameter.name, value));
            }
        }
        each.push(values);
    }
    Ok((shared, each))
}

fn look_up(parameter: &Parameter, scopes: &[Option<&Settings>], tensor: &str, t: f64) -> Option<f64> {
    let found = |set: Option<&Settings>| set?.get(parameter.name)?.at(tensor, t, parameter.kind);
    scopes.iter().find_map(|set| found(*set)).or(parameter.default)
}

fn missing(parameter: &Parameter, tensor: &str, model: Option<&str>) -> OpError {
    let of = model.map_or_else(String::new, |model| format!(" of `{model}`"));
    OpError::new(format!("the parameter `{}` has no value for tensor `{tensor}`{of}", parameter.name))
        .help("no filter matches it; add an entry without a filter")
}
