//! What the machine has, and who has what of it at the moment.

use crate::spec::execution::Execution;

/// What the machine has for nodes that say what they need.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    /// Cores.
    pub cpu: u32,
    /// The GPUs, as `CUDA_VISIBLE_DEVICES` names them.
    pub gpus: Vec<String>,
    /// Memory in bytes.
    pub memory: u64,
}

/// A part of the machine that a node has while it runs.
#[derive(Debug, Default)]
pub(super) struct Grant {
    cpu: u32,
    /// Its GPUs.
    pub(super) gpus: Vec<String>,
    memory: u64,
}

/// Why a node cannot have what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scarce {
    Cpu,
    Gpu,
    Memory,
}

impl Resources {
    /// Says what this machine can never give, and how much it has: `(gpu, 2, 1)`.
    pub(super) fn lacks(&self, execution: &Execution) -> Option<(&'static str, String, String)> {
        let needs = execution.needs;
        let gpus = self.gpus.len() as u64;
        if u64::from(needs.gpu) > gpus {
            return Some(("gpu", needs.gpu.to_string(), gpus.to_string()));
        }
        if needs.cpu.unwrap_or(0) > self.cpu {
            return Some(("cpu", needs.cpu.unwrap_or(0).to_string(), self.cpu.to_string()));
        }
        (needs.memory > self.memory).then(|| ("memory", gigabytes(needs.memory), gigabytes(self.memory)))
    }

    /// Takes what a node needs, or says what there is too little of at the moment.
    pub(super) fn take(&mut self, execution: &Execution) -> Result<Grant, Scarce> {
        let needs = execution.needs;
        let (cpu, gpu) = (needs.cpu.unwrap_or(0), needs.gpu as usize);
        if cpu > self.cpu {
            return Err(Scarce::Cpu);
        }
        if gpu > self.gpus.len() {
            return Err(Scarce::Gpu);
        }
        if needs.memory > self.memory {
            return Err(Scarce::Memory);
        }
        self.cpu -= cpu;
        self.memory -= needs.memory;
        Ok(Grant { cpu, gpus: self.gpus.drain(..gpu).collect(), memory: needs.memory })
    }

    /// Takes back what a node had.
    pub(super) fn give_back(&mut self, grant: Grant) {
        self.cpu += grant.cpu;
        self.memory += grant.memory;
        self.gpus.extend(grant.gpus);
        self.gpus.sort_unstable();
    }
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// Says whether a node asks for something of which there is too little for one before it: the one before goes first.
pub(super) fn wants(execution: &Execution, scarce: Scarce) -> bool {
    match scarce {
        Scarce::Cpu => execution.needs.cpu.is_some(),
        Scarce::Gpu => execution.needs.gpu > 0,
        Scarce::Memory => execution.needs.memory > 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::execution::Needs;

    fn needs(cpu: u32, gpu: u32, memory: u64) -> Execution {
        Execution { needs: Needs { cpu: Some(cpu), gpu, memory }, ..Execution::default() }
    }

    #[test]
    fn what_is_taken_is_gone_until_it_is_given_back() {
        let mut machine = Resources { cpu: 4, gpus: vec!["0".into(), "1".into()], memory: 10 };
        let first = machine.take(&needs(2, 1, 6)).unwrap();
        assert_eq!(first.gpus, ["0"]);
        assert_eq!(machine.take(&needs(3, 0, 0)).unwrap_err(), Scarce::Cpu);
        assert_eq!(machine.take(&needs(0, 2, 0)).unwrap_err(), Scarce::Gpu);
        assert_eq!(machine.take(&needs(0, 0, 5)).unwrap_err(), Scarce::Memory);
        let second = machine.take(&needs(2, 1, 4)).unwrap();
        assert_eq!(second.gpus, ["1"]);
        machine.give_back(second);
        machine.give_back(first);
        assert_eq!((machine.cpu, machine.gpus.len(), machine.memory), (4, 2, 10));
        assert_eq!(machine.gpus, ["0", "1"]);
    }

    #[test]
    fn what_the_machine_never_has_is_told() {
        let machine = Resources { cpu: 4, gpus: Vec::new(), memory: 10_000_000_000 };
        assert_eq!(machine.lacks(&needs(4, 0, 10_000_000_000)), None);
        assert_eq!(machine.lacks(&needs(0, 1, 0)), Some(("gpu", "1".into(), "0".into())));
        assert_eq!(machine.lacks(&needs(0, 0, 20_000_000_000)), Some(("memory", "20.0 GB".into(), "10.0 GB".into())));
    }
}
