//! What the machine has, as far as the command line or the system tells.

use super::report::CliError;
use crate::exec::Resources;
use crate::spec::execution;

/// Returns what nodes may have of the machine: what `--slots` says, else what is found.
pub(super) fn resources(slots: Option<&str>, cores: usize) -> Result<Resources, CliError> {
    let cpu = u32::try_from(cores).unwrap_or(u32::MAX);
    let mut resources = Resources { cpu, gpus: visible_gpus(), memory: memory() };
    for slot in slots.into_iter().flat_map(|slots| slots.split(',')) {
        let wrong =
            |why: String| CliError::user(format!("`--slots {slot}`: {why}")).help("write `gpu=2,memory=16GB,cpu=8`");
        let (name, value) = slot.split_once('=').ok_or_else(|| wrong("it is not `name=amount`".into()))?;
        let count = || value.parse::<u32>().map_err(|_| wrong(format!("`{value}` is no number")));
        match name.trim() {
            "cpu" => resources.cpu = count()?,
            "gpu" => resources.gpus = (0..count()?).map(|index| index.to_string()).collect(),
            "memory" => resources.memory = execution::memory(value).map_err(wrong)?,
            other => return Err(wrong(format!("there is no resource `{other}`"))),
        }
    }
    Ok(resources)
}

/// The GPUs that this process may use: those that `CUDA_VISIBLE_DEVICES` names, else all that the driver shows.
fn visible_gpus() -> Vec<String> {
    if let Ok(visible) = std::env::var("CUDA_VISIBLE_DEVICES") {
        let named = visible.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "-1");
        return named.map(str::to_owned).collect();
    }
    let device = |index: &usize| std::path::Path::new(&format!("/dev/nvidia{index}")).exists();
    (0..64).take_while(device).map(|index| index.to_string()).collect()
}

/// The memory of the machine in bytes; without bound where the system does not tell.
fn memory() -> u64 {
    #[cfg(target_os = "linux")]
    {
        let info = rustix::system::sysinfo();
        // The width of `totalram` differs between processors.
        #[expect(clippy::useless_conversion, reason = "it is 32 bits wide on some")]
        u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit))
    }
    #[cfg(not(target_os = "linux"))]
    {
        u64::MAX
    }
}
