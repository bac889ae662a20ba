//! Runs the cells of the matrix: several proxies in parallel, and the cases of each proxy one after the other.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use tokio::runtime::Builder;

use crate::bench::Bench;
use crate::cases::{CASES, Case};
use crate::fleet::{FLEET, Kind};
use crate::impossible::{Impossible, impossible};

/// The number of proxies that the runner tests in parallel.
const PARALLEL_PROXIES: usize = 4;

/// One case on one proxy.
pub struct Cell {
    pub case: &'static Case,
    pub proxy: &'static str,
    pub outcome: Outcome,
}

pub enum Outcome {
    Held,
    /// The proxy cannot support the case, which failed as expected.
    NotPossible(&'static Impossible),
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
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs the cells whose name contains one of `words`. Without words, runs all cells.
pub fn run(words: &[String]) -> Vec<Cell> {
    std::panic::set_hook(Box::new(|panic| {
        MESSAGE.with_borrow_mut(|message| *message = panic.to_string());
    }));
    let next = Mutex::new(FLEET.iter());
    let cells = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL_PROXIES {
            scope.spawn(|| {
                loop {
                    let Some(kind) = next.lock().unwrap().next() else {
                        break;
                    };
                    let of_this = run_proxy(*kind, words);
                    cells.lock().unwrap().extend(of_this);
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    cells.into_inner().unwrap()
}

fn run_proxy(kind: Kind, words: &[String]) -> Vec<Cell> {
    let wanted = |case: &&Case| {
        let name = format!("{}/{} {}", kind.name, case.number, case.title);
        words.is_empty() || words.iter().any(|word| name.contains(word))
    };
    let cases: Vec<&'static Case> = CASES.iter().filter(wanted).collect();
    if cases.is_empty() {
        return Vec::new();
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let started = caught(|| runtime.block_on(Bench::start(kind)));
    let mut bench = match started {
        Ok(bench) => bench,
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
        bench.backend.take();
        let held = caught(|| runtime.block_on((case.run)(&mut bench)));
        let outcome = match (held, impossible(case.number, kind.name)) {
            (Ok(()), None) => Outcome::Held,
            (Ok(()), Some(_)) => {
                Outcome::Failed("passes, although it is listed as not possible".to_owned())
            }
            (Err(message), Some(known)) if message.contains(known.fails_with) => {
                Outcome::NotPossible(known)
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
fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| MESSAGE.take())
}
