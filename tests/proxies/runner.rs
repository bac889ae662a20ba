//! Runs the cells of the matrix: several proxies in parallel, and the cases of each proxy one after the other.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use tokio::runtime::Builder;

use crate::cases::{CASES, Case};
use crate::harness::Harness;
use crate::kinds::{ProxyKind, proxy_kinds};
use crate::unsupported_cases::{UnsupportedCase, find_unsupported_case};

/// The number of proxies that the runner tests in parallel.
const PARALLEL_PROXIES: usize = 4;

/// One case on one proxy.
pub struct Cell {
    pub case: &'static Case,
    pub proxy: &'static str,
    pub outcome: Outcome,
}

pub enum Outcome {
    Passed,
    /// The proxy cannot support the case, which failed as expected.
    NotPossible(&'static UnsupportedCase),
    Failed(String),
}

impl Cell {
    /// Returns the failure as text.
    pub fn failure(&self) -> Option<String> {
        let Outcome::Failed(message) = &self.outcome else {
            return None;
        };
        let Case { number, title, .. } = self.case;
        Some(format!(
            "FAILED {}/{number} ({title}): {message}",
            self.proxy
        ))
    }
}

thread_local! {
    static PANIC_MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs the cells whose name contains one of `name_filters`. Without filters, runs all cells.
pub fn run(name_filters: &[String]) -> Vec<Cell> {
    std::panic::set_hook(Box::new(|panic| {
        PANIC_MESSAGE.with_borrow_mut(|message| *message = panic.to_string());
    }));
    let next = Mutex::new(proxy_kinds().iter());
    let cells = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL_PROXIES {
            scope.spawn(|| {
                loop {
                    let Some(kind) = next.lock().unwrap().next() else {
                        break;
                    };
                    let proxy_cells = run_proxy(*kind, name_filters);
                    cells.lock().unwrap().extend(proxy_cells);
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    cells.into_inner().unwrap()
}

fn run_proxy(kind: ProxyKind, name_filters: &[String]) -> Vec<Cell> {
    let is_selected = |case: &&Case| {
        let name = format!("{}/{} {}", kind.name, case.number, case.title);
        name_filters.is_empty() || name_filters.iter().any(|word| name.contains(word))
    };
    let cases: Vec<&'static Case> = CASES.iter().filter(is_selected).collect();
    if cases.is_empty() {
        return Vec::new();
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let started = catch_panic(|| runtime.block_on(Harness::start(kind)));
    let mut harness = match started {
        Ok(harness) => harness,
        Err(message) => {
            let failed = cases.into_iter().map(|case| Cell {
                case,
                proxy: kind.name,
                outcome: Outcome::Failed(message.clone()),
            });
            return failed.collect();
        }
    };
    let cells = cases.into_iter().map(|case| {
        harness.backend.take();
        let result = catch_panic(|| runtime.block_on((case.run)(&mut harness)));
        let outcome = match (result, find_unsupported_case(case.number, kind.name)) {
            (Ok(()), None) => Outcome::Passed,
            (Ok(()), Some(_)) => Outcome::Failed(
                "the case passed, but tests/proxies/unsupported_cases.rs lists it for this proxy"
                    .to_owned(),
            ),
            (Err(message), Some(unsupported_case))
                if message.contains(unsupported_case.fails_with) =>
            {
                Outcome::NotPossible(unsupported_case)
            }
            (Err(message), _) => Outcome::Failed(message),
        };
        Cell {
            case,
            proxy: kind.name,
            outcome,
        }
    });
    cells.collect()
}

/// Runs a function. If it panics, returns the message and the location of the panic.
fn catch_panic<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| PANIC_MESSAGE.take())
}
