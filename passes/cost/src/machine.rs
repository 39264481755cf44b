//! The machine that runs the numbers: what every measurement and `spaceevo-opt doctor` say about it.

use std::fmt;

/// A processor as far as INT8 speed depends on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Model name as the processor gives it, or the architecture when it gives none.
    pub cpu: String,
    /// Logical processors that this process may use.
    pub threads: usize,
    /// Instruction sets that change how fast integer or float kernels are, widest first.
    pub features: Vec<&'static str>,
}

impl Machine {
    /// Looks at the machine that this process runs on.
    pub fn detect() -> Machine {
        Machine {
            cpu: cpu_name().unwrap_or_else(|| std::env::consts::ARCH.to_string()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            features: features(),
        }
    }

    /// True when four 8-bit products are added up in one instruction (VNNI, or the dot product instructions of Arm). Without
    /// them INT8 is seldom faster than float, and some kernels saturate at 16 bits.
    pub fn has_int8_dot(&self) -> bool {
        self.features.iter().any(|f| INT8_DOT.contains(f))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} thread{}", self.cpu, self.threads, if self.threads == 1 { "" } else { "s" })?;
        if !self.features.is_empty() {
            write!(f, " ({})", self.features.join(", "))?;
        }
        Ok(())
    }
}

/// Instruction sets that have a dot product of bytes.
const INT8_DOT: [&str; 4] = ["avx512vnni", "avxvnni", "dotprod", "i8mm"];

/// [`Machine::has_int8_dot`] of the machine that this process runs on.
pub(crate) fn has_int8_dot() -> bool {
    features().iter().any(|f| INT8_DOT.contains(f))
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    macro_rules! present {
        ($($name:tt),*) => { [$(($name, std::is_x86_feature_detected!($name))),*] };
    }
    let known = present!("avx512vnni", "avx512bf16", "avx512f", "avxvnni", "avx2", "fma");
    known.iter().filter(|(_, present)| *present).map(|(name, _)| *name).collect()
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    macro_rules! present {
        ($($name:tt),*) => { [$(($name, std::arch::is_aarch64_feature_detected!($name))),*] };
    }
    let known = present!("sve", "i8mm", "dotprod", "neon");
    known.iter().filter(|(_, present)| *present).map(|(name, _)| *name).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

/// The model name that Linux gives; other systems have no file to read it from.
fn cpu_name() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name") || line.starts_with("Model"))?;
    let name = line.split_once(':')?.1.trim();
    (!name.is_empty()).then(|| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_a_name_and_at_least_one_thread() {
        let machine = Machine::detect();
        assert!(!machine.cpu.is_empty());
        assert!(machine.threads >= 1);
        assert!(machine.to_string().starts_with(&machine.cpu));
    }

    #[test]
    fn vnni_counts_as_an_int8_dot_product() {
        let machine = |features| Machine { cpu: "c".into(), threads: 2, features };
        assert!(machine(vec!["avx512vnni", "avx2"]).has_int8_dot());
        assert!(!machine(vec!["avx2", "fma"]).has_int8_dot());
        assert_eq!(machine(vec!["avx2", "fma"]).to_string(), "c, 2 threads (avx2, fma)");
    }
}
