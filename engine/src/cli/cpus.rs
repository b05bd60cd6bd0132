//! Which CPUs the workers run on.

use ringfort_config::CpuList;

/// More cores than this are used only when asked for: each worker takes packet memory.
const DEFAULT_WORKERS_MAX: usize = 16;
/// Workers are numbered by a byte of their receiver indices.
const WORKERS_MAX: usize = u8::MAX as usize;

/// What there is to choose from.
pub struct Cpus<'a> {
    /// Those that the process may run on, in ascending order.
    pub usable: &'a [usize],
    /// Of these, those on the node of the network card; empty if that does not matter, or is not known.
    pub near: &'a [usize],
    /// Whether a worker can be moved to one that the process itself does not run on, as an isolated one.
    pub reaches: &'a dyn Fn(usize) -> bool,
}

impl Cpus<'_> {
    /// The CPU of each worker: those that were `asked` for, in turn, or else the near ones before all others.
    ///
    /// # Errors
    /// [`CpuError`] if one was asked for that cannot be had.
    pub fn choose(&self, asked: Option<&[usize]>, workers: Option<usize>) -> Result<Vec<usize>, CpuError> {
        let (cpus, default) = match asked {
            Some(asked) => {
                let is_missing = |&&cpu: &&usize| !self.usable.contains(&cpu) && !(self.reaches)(cpu);
                if let Some(&missing) = asked.iter().find(is_missing) {
                    return Err(CpuError { missing, usable: CpuList(self.usable.to_vec()) });
                }
                (asked.to_vec(), asked.len())
            }
            None => {
                let near: Vec<usize> = self.near.iter().copied().filter(|cpu| self.usable.contains(cpu)).collect();
                let default = if near.is_empty() { self.usable.len() } else { near.len() };
                let far: Vec<usize> = self.usable.iter().copied().filter(|cpu| !near.contains(cpu)).collect();
                ([near, far].concat(), default.min(DEFAULT_WORKERS_MAX))
            }
        };
        let count = workers.unwrap_or(default.clamp(1, WORKERS_MAX));
        Ok(cpus.into_iter().cycle().take(count).collect())
    }
}

/// What the operator should know of workers that share CPUs, if any do.
#[must_use]
pub fn crowded(cpus: &[usize]) -> Option<String> {
    let mut each = cpus.to_vec();
    each.sort_unstable();
    each.dedup();
    let (workers, count) = (cpus.len(), each.len());
    (workers > count).then(|| {
        format!(
            "{workers} workers share {count} CPUs: one that waits for its CPU keeps packets waiting, and nothing is \
             gained; use --workers {count}, or name more CPUs with --cpus"
        )
    })
}

/// A CPU that a worker cannot be moved to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("CPU {missing} is not usable here (it is offline, or a cpuset forbids it): choose --cpus among {usable}")]
pub struct CpuError {
    missing: usize,
    usable: CpuList,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(asked: Option<&[usize]>, workers: Option<usize>, near: &[usize]) -> Result<Vec<usize>, CpuError> {
        Cpus { usable: &[0, 1, 2, 3], near, reaches: &|cpu| cpu == 7 }.choose(asked, workers)
    }

    #[test]
    fn workers_are_near_the_card_if_it_has_a_node() {
        assert_eq!(choose(None, None, &[2, 3]), Ok(vec![2, 3]));
        assert_eq!(choose(None, Some(3), &[2, 3]), Ok(vec![2, 3, 0]), "and then elsewhere");
        assert_eq!(choose(None, None, &[2, 9]), Ok(vec![2]), "where we may run");
        assert_eq!(choose(None, None, &[8, 9]), Ok(vec![0, 1, 2, 3]), "as if there were no nodes");
        assert_eq!(choose(Some(&[0]), None, &[2, 3]), Ok(vec![0]), "unless told otherwise");
    }

    #[test]
    fn isolated_cpus_can_be_had_if_the_kernel_lets_us() {
        assert_eq!(choose(Some(&[7, 0]), None, &[]), Ok(vec![7, 0]));
        let error = choose(Some(&[7, 8]), None, &[]).unwrap_err();
        assert!(error.to_string().contains("CPU 8") && error.to_string().contains("0,1,2,3"), "{error}");
    }

    #[test]
    fn workers_that_share_a_cpu_are_said() {
        assert_eq!(crowded(&[0, 1]), None);
        let text = crowded(&[0, 1, 0]).unwrap();
        assert!(text.contains("3 workers share 2 CPUs") && text.contains("--workers 2"), "{text}");
    }
}
