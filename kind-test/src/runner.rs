//! Runs a table of tests: those that share the cluster several at a time, those that change it one by one and last. Each
//! has a deadline; of one that fails it shows what the cluster knows.

use std::collections::HashMap;
use std::panic;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::report::{Row, say, show_failure, show_table};
use crate::stage::Stage;

/// How many tests of one kind run at a time unless `E2E_AT_ONCE` says otherwise: they wait more than they compute.
const AT_ONCE: usize = 5;
/// How long a test may take.
const LIMIT: Duration = Duration::from_secs(420);

/// When a test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It stays within namespaces of its own: beside others.
    Shared,
    /// It changes what others rely on: alone, after all others.
    Exclusive,
    /// It measures: alone, and only where it is asked for by name.
    Measurement,
}

/// A line of the table.
#[derive(Clone, Copy)]
pub struct Test {
    /// Its module and function.
    pub name: &'static str,
    /// When it runs.
    pub kind: Kind,
    /// The test.
    pub run: fn(&Stage),
}

/// The functions of a module as lines of the table: `tests!(Shared: one, two)`.
#[macro_export]
macro_rules! tests {
    ($($kind:ident: $($function:ident),+ $(,)?);+ $(;)?) => {
        &[$($($crate::runner::Test {
            name: concat!(module_path!(), "::", stringify!($function)),
            kind: $crate::runner::Kind::$kind,
            run: $function,
        }),+),+]
    };
}

/// What panicked last in each thread, by the thread's name.
static PANICS: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);

/// The tests whose names contain `filter`, all that measure nothing if it is empty.
///
/// # Errors
/// Text for the user where there is none.
pub fn choose(tests: &[&[Test]], filter: &str) -> Result<Vec<Test>, String> {
    let chosen: Vec<Test> = tests.concat().into_iter().filter(|test| is_chosen(test, filter)).collect();
    if chosen.is_empty() { Err(format!("no test's name contains {filter:?}")) } else { Ok(chosen) }
}

/// How many tests run at a time: `E2E_AT_ONCE`, at least one.
///
/// # Errors
/// Text for the user where it is no such number.
pub fn at_once() -> Result<usize, String> {
    let Ok(text) = std::env::var("E2E_AT_ONCE") else { return Ok(AT_ONCE) };
    text.parse()
        .ok()
        .filter(|number| *number >= 1)
        .ok_or_else(|| format!("E2E_AT_ONCE is {text:?}: a number from 1 on"))
}

/// Runs these tests, so many of those that are shared at a time.
pub fn run(chosen: &[Test], at_once: usize) -> ExitCode {
    panic::set_hook(Box::new(|panicked| {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        PANICS.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(thread, panicked.to_string());
    }));
    let (shared, alone): (Vec<Test>, Vec<Test>) = chosen.iter().partition(|test| test.kind == Kind::Shared);
    let rows = Mutex::default();
    run_beside(&shared, at_once, &rows);
    alone.iter().for_each(|test| rows.lock().unwrap().push(run_one(test)));
    crate::origins::Origins::stop();
    show_table(&rows.into_inner().unwrap())
}

fn is_chosen(test: &Test, filter: &str) -> bool {
    test.name.contains(filter) && (test.kind != Kind::Measurement || !filter.is_empty())
}

fn run_beside(tests: &[Test], at_once: usize, rows: &Mutex<Vec<Row>>) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = run_one(test);
                    rows.lock().unwrap().push(row);
                }
            });
        }
    });
}

/// In a thread of its own, which is left behind where it does not end in time.
fn run_one(test: &Test) -> Row {
    let start = Instant::now();
    let stage = Arc::new(Stage::new(test.name));
    let (sender, ended) = mpsc::channel();
    let thread = std::thread::Builder::new().name(test.name.to_owned());
    let (run, on) = (test.run, Arc::clone(&stage));
    let spawned = thread.spawn(move || {
        let result = panic::catch_unwind(panic::AssertUnwindSafe(|| run(&on)));
        // Nobody listens any more where it took too long.
        let _ = sender.send(result.is_ok());
    });
    spawned.expect("a thread can be started");
    let failure = match ended.recv_timeout(LIMIT) {
        Ok(true) => None,
        Ok(false) => Some(PANICS.lock().unwrap().remove(test.name).unwrap_or_default()),
        Err(_) => Some(format!("it did not end within {LIMIT:?}")),
    };
    let row = Row { name: test.name, passed: failure.is_none(), time: start.elapsed() };
    say(&row.to_string());
    if let Some(failure) = &failure {
        show_failure(test.name, failure, &stage.names());
    }
    if failure.is_none() || std::env::var_os("KEEP").is_none() {
        stage.clear();
    }
    row
}
