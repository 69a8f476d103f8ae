//! A share of a core that a process cannot exceed: a control group of its own with a quota of CPU time.
//!
//! Version 2 of the control groups (`cpu.max`) is tried first, then version 1 (`cpu.cfs_quota_us`). Where neither can be had
//! there is an error, never a run without a limit. The names of the files: Linux, Documentation/admin-guide/cgroup-v2.rst and
//! Documentation/scheduler/sched-bwc.rst.

use super::server::Process;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// What a quota is counted over: short, so that a node whose quota is spent soon goes on.
pub const PERIOD: Duration = Duration::from_millis(10);
/// The kernel takes no smaller quota.
pub const QUOTA_MIN: Duration = Duration::from_millis(1);
/// How often a group is removed again while the kernel says that it is busy: a process that has just ended is in it a little
/// longer.
const REMOVALS: usize = 50;
/// The time between two of these.
const REMOVAL_INTERVAL: Duration = Duration::from_millis(20);

/// Groups of this process so far: each has a name of its own.
static GROUPS: AtomicU64 = AtomicU64::new(0);

/// A control group with a quota; it is removed when this is dropped, which is to be after its process has ended.
#[derive(Debug)]
pub struct Quota {
    group: PathBuf,
}

impl Quota {
    /// A group in which all threads together get `share` of one core's time, in each [`PERIOD`].
    ///
    /// # Errors
    /// The share is not above 0, or less than [`QUOTA_MIN`] in each period; the system has no control groups for CPU time that
    /// this process may make.
    pub fn new(share: f64) -> io::Result<Self> {
        let quota = share * PERIOD.as_secs_f64();
        if !quota.is_finite() || quota < QUOTA_MIN.as_secs_f64() {
            let least = QUOTA_MIN.as_secs_f64() / PERIOD.as_secs_f64();
            return Err(io::Error::other(format!("a share of {share}: the least is {least}")));
        }
        let (quota, period) = ((quota * 1e6).round() as u64, PERIOD.as_micros());
        let (mounts, own) = (fs::read_to_string("/proc/self/mounts")?, fs::read_to_string("/proc/self/cgroup")?);
        let name = format!("wrs-benches-{}-{}", std::process::id(), GROUPS.fetch_add(1, Ordering::Relaxed));
        let mut refusals = Vec::new();
        for place in places(&mounts, &own) {
            match Self::make(place.join(&name), quota, period) {
                Ok(made) => return Ok(made),
                Err(error) => refusals.push(format!("{}: {error}", place.display())),
            }
        }
        Err(io::Error::other(format!("no control group with a quota of CPU time can be had ({})", refusals.join("; "))))
    }

    fn make(group: PathBuf, quota: u64, period: u128) -> io::Result<Self> {
        fs::create_dir(&group)?;
        // From here on an error removes the group.
        let made = Self { group };
        if made.group.join("cpu.max").exists() {
            fs::write(made.group.join("cpu.max"), format!("{quota} {period}"))?;
        } else {
            // The period first: the kernel compares the two.
            fs::write(existing(&made.group, "cpu.cfs_period_us")?, period.to_string())?;
            fs::write(existing(&made.group, "cpu.cfs_quota_us")?, quota.to_string())?;
        }
        Ok(made)
    }

    /// Puts a process, with all its threads, under this quota.
    ///
    /// # Errors
    /// It has ended, or the system does not allow it.
    pub fn limit(&self, process: Process) -> io::Result<()> {
        fs::write(self.group.join("cgroup.procs"), process.0.to_string())
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        for _ in 0..REMOVALS {
            match fs::remove_dir(&self.group) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => thread::sleep(REMOVAL_INTERVAL),
                _ => return,
            }
        }
        eprintln!("{} is still in use and was not removed", self.group.display());
    }
}

fn existing(group: &Path, file: &str) -> io::Result<PathBuf> {
    Some(group.join(file)).filter(|path| path.exists()).ok_or_else(|| io::Error::other(format!("it has no {file}")))
}

/// Where a group may be made: below the group that this process is in, or below one above it, in both versions. In version 2 a
/// group that holds processes has none below it that share out CPU time, so it is often one further up.
fn places(mounts: &str, own: &str) -> Vec<PathBuf> {
    let mounted = |kind: &str, option: &str| {
        let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        lines.find_map(|fields| match fields.as_slice() {
            [_, at, found, options, ..] if *found == kind && options.split(',').any(|one| one == option) => {
                Some(PathBuf::from(*at))
            }
            _ => None,
        })
    };
    let group = |names: fn(&str) -> bool| {
        let mut lines = own.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
        lines.find_map(|fields| match fields.as_slice() {
            [_, controllers, path] if names(controllers) => Some(path.trim_start_matches('/').to_owned()),
            _ => None,
        })
    };
    let unified = mounted("cgroup2", "rw").zip(group(str::is_empty));
    let split = mounted("cgroup", "cpu").zip(group(|controllers| controllers.split(',').any(|one| one == "cpu")));
    let versions = [unified, split].into_iter().flatten();
    versions
        .flat_map(|(root, path)| {
            let own = root.join(path);
            own.ancestors().take_while(|place| place.starts_with(&root)).map(Path::to_path_buf).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    #[test]
    fn a_group_is_sought_where_this_process_is_and_above_in_both_versions() {
        let mounts = "tmpfs /sys tmpfs rw 0 0\ncgroup /c/set cgroup rw,cpuset 0 0\ncgroup /c/cpu cgroup rw,relatime,cpu,cpuacct 0 0\n\
                      cgroup2 /c/u cgroup2 rw,relatime 0 0\n";
        let own = "3:cpuset:/other\n2:cpu,cpuacct:/a/b\n0::/x.slice\n";
        let found: Vec<_> = places(mounts, own).iter().map(|place| place.display().to_string()).collect();
        assert_eq!(
            found,
            ["/c/u/x.slice", "/c/u", "/c/cpu/a/b", "/c/cpu/a", "/c/cpu"].map(|path| path.trim_end_matches('/'))
        );
        assert!(places("tmpfs /sys tmpfs rw 0 0\n", own).is_empty());
    }

    #[test]
    fn a_share_below_what_the_kernel_takes_is_refused() {
        for share in [0.0, -1.0, 0.05, f64::NAN, f64::INFINITY] {
            assert!(Quota::new(share).unwrap_err().to_string().contains("the least is 0.1"), "{share}");
        }
    }

    /// Says nothing where groups cannot be had: that is then what [`Quota::new`] says.
    #[test]
    fn a_busy_process_gets_its_share_and_no_more_and_the_group_goes_with_it() {
        let quota = match Quota::new(0.1) {
            Ok(quota) => quota,
            Err(error) => return assert!(error.to_string().starts_with("no control group"), "{error}"),
        };
        let mut child = Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().unwrap();
        let busy = Process(child.id());
        let limited = quota.limit(busy);
        let (start, before) = (Instant::now(), busy.cpu().unwrap());
        thread::sleep(Duration::from_millis(500));
        let used = (busy.cpu().unwrap() - before).as_secs_f64() / start.elapsed().as_secs_f64();
        child.kill().unwrap();
        child.wait().unwrap();
        limited.unwrap();
        assert!(used < 0.2, "{used}");
        let group = quota.group.clone();
        drop(quota);
        assert!(!group.exists());
    }
}
