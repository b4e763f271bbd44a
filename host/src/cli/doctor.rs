//! `nda doctor`: what the machine lacks for real-time audio, and how to get it, as text or as JSON.

use super::args::DoctorArgs;
use super::json;
use super::out::Out;
use crate::doctor::{self, Finding, Verdict};
use crate::error::{Kind, Result};
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
struct Document {
    findings: Vec<Finding>,
}

/// Looks, and tells what was found. It fails if nothing would run here.
pub(super) fn doctor(args: &DoctorArgs, out: &mut Out) -> Result<ExitCode> {
    let findings = doctor::examine(args.python.as_deref())?;
    let code = code(&findings);
    if args.json {
        out.data(json::document(&Document { findings })?.as_bytes());
    } else {
        out.text(&text(&findings));
    }
    Ok(code)
}

/// What is needed and missing: an interpreter's code, or the system's.
fn code(findings: &[Finding]) -> ExitCode {
    let missing = |about: Option<&str>| {
        findings.iter().any(|f| f.verdict == Verdict::Needed && about.is_none_or(|about| about == f.about))
    };
    match () {
        () if missing(Some("Python")) => super::exit::of(Kind::Interpreter),
        () if missing(None) => super::exit::of(Kind::System),
        () => ExitCode::SUCCESS,
    }
}

fn text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.about.len()).max().unwrap_or(0);
    let mut text: String = findings.iter().map(|finding| lines(finding, width)).collect();
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    text.push_str(&match (count(Verdict::Needed), count(Verdict::Better)) {
        (0, 0) => "\nAll is there.\n".to_owned(),
        (0, better) => format!("\nIt plays; {better} of these would make it safer against dropouts.\n"),
        (needed, _) => format!("\nIt can't play: {needed} of these must be mended first.\n"),
    });
    text
}

fn lines(finding: &Finding, width: usize) -> String {
    let sign = match finding.verdict {
        Verdict::Good => "ok",
        Verdict::Better => "--",
        Verdict::Needed => "!!",
    };
    // A text of several lines goes on below itself.
    let is = finding.is.replace('\n', &format!("\n    {:width$}  ", ""));
    let first = format!("{sign}  {:width$}  {is}\n", finding.about);
    match &finding.remedy {
        Some(remedy) => format!("{first}    {:width$}  try: {remedy}\n", ""),
        None => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(about: &'static str, verdict: Verdict, remedy: Option<&str>) -> Finding {
        Finding { about, verdict, is: "so".into(), remedy: remedy.map(str::to_owned) }
    }

    #[test]
    fn each_finding_is_told_with_its_remedy_and_what_it_comes_to() {
        let findings =
            [finding("kernel", Verdict::Good, None), finding("priority", Verdict::Better, Some("rtprio"))];
        let expected = "ok  kernel    so\n--  priority  so\n              try: rtprio\n\n\
                        It plays; 1 of these would make it safer against dropouts.\n";
        assert_eq!(text(&findings), expected);
        assert_eq!(code(&findings), ExitCode::SUCCESS);
    }

    #[test]
    fn without_python_it_fails_as_a_run_would() {
        let findings = [finding("Python", Verdict::Needed, Some("install it"))];
        assert!(text(&findings).ends_with("It can't play: 1 of these must be mended first.\n"));
        assert_eq!(code(&findings), ExitCode::from(7));
        assert_eq!(code(&[finding("kernel", Verdict::Needed, None)]), ExitCode::from(1));
    }
}
