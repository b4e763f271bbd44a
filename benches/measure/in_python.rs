//! Rows that are measured in Python, in a process that takes its turns with the others.

use super::batch::{Batch, Turn};
use crate::Outcome;
use crate::report::model::{Variant, What};
use rustix::process::Pid;
use serde::Deserialize;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The process.
#[derive(Debug)]
pub struct InPython {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it is, and what it can measure.
    pub can: Can,
}

/// What depends on the interpreter.
#[derive(Debug, Clone, Deserialize)]
pub struct Can {
    /// pedalboard can be imported.
    pub pedalboard: bool,
    /// The interpreter and its numpy.
    pub versions: String,
}

impl InPython {
    /// Starts it; `module` is the worker module, which times bare calls.
    ///
    /// # Errors
    /// If it does not start, with what it said on standard error.
    pub fn start(python: &Path, script: &Path, module: &Path) -> Outcome<Self> {
        let mut command = Command::new(python);
        command.arg("-I").args([script, module]).stdin(Stdio::piped()).stdout(Stdio::piped());
        // As workers: one thread each, or they would keep the other processor busy.
        for variable in ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
            command.env(variable, "1");
        }
        let mut child = command.spawn()?;
        let requests = child.stdin.take().ok_or("no pipe")?;
        let mut answers = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let can = answer(&mut answers)?;
        Ok(Self { child, requests, answers, can })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Has it measure.
    ///
    /// # Errors
    /// If it can't, or has ended.
    pub fn turn(&mut self, variant: &Variant, turn: &Turn) -> Outcome<Batch> {
        let what = match variant.what {
            What::NoOp => "no-op",
            What::PlainNumpy => "plain-numpy",
            What::Pedalboard => "pedalboard",
            other => return Err(format!("{other:?} is not measured in Python").into()),
        };
        let request = serde_json::json!({
            "what": what,
            "channels": variant.channels,
            "frames": variant.block_frames,
            "blocks": turn.blocks,
            "warm_up": turn.warm_up,
            "every_ns": turn.every_ns,
        });
        writeln!(self.requests, "{request}")?;
        let times_ns = answer(&mut self.answers)?;
        Ok(Batch { times_ns, ..Batch::default() })
    }
}

fn answer<T: for<'a> Deserialize<'a>>(answers: &mut impl BufRead) -> Outcome<T> {
    let mut line = String::new();
    if answers.read_line(&mut line)? == 0 {
        return Err("the Python that rows are measured in has ended".into());
    }
    Ok(serde_json::from_str(&line)?)
}

impl Drop for InPython {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
