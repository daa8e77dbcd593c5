//! One start for every run: tokio numbers tasks from one counter for the whole process.
//!
//! A runtime that is dropped drops its tasks in an order that depends on their numbers, and each
//! dropped connection draws a latency from the simulated network. So every run begins at the same
//! residue of that counter, and a process runs one simulation at a time.

/// A multiple of the number of shards of any runtime.
const RESIDUE: u64 = 1024;

/// Spawns empty tasks until the next task's number is 1 above a multiple of [`RESIDUE`].
#[expect(clippy::disallowed_methods, reason = "empty tasks that exist for their numbers")]
pub fn align_task_numbers() {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.start_paused(true).enable_time().build();
    let runtime = runtime.expect("a runtime without I/O needs nothing");
    runtime.block_on(async {
        loop {
            let task = tokio::spawn(async {});
            let number: u64 = task.id().to_string().parse().expect("tokio shows ids as numbers");
            task.await.expect("an empty task ends");
            if number.is_multiple_of(RESIDUE) {
                return;
            }
        }
    });
}
