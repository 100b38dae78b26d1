//! How the threads of a process are scheduled.

/// The policies, as sched(7) numbers them.
#[allow(dead_code, reason = "no test target needs all of it")]
pub const SCHED_OTHER: u32 = 0;
pub const SCHED_IDLE: u32 = 5;

/// The scheduling policy of a thread by its `stat`, if it has this name.
pub fn policy_of(stat: &str, name: &str) -> Option<u32> {
    // proc_pid_stat(5): the second field is the name, which may hold anything, and the 41st
    // the policy.
    let (_, rest) = stat.split_once(&format!(" ({name}) "))?;
    rest.split_whitespace().nth(41 - 3)?.parse().ok()
}

/// Whether a thread waits for something, by its `stat`.
#[allow(dead_code, reason = "no test target needs all of it")]
pub fn is_asleep(stat: &str) -> bool {
    // The name may hold anything, and what follows it no bracket.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}
