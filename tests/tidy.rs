//! The house rules, as an ordinary test: which layer may use which, what is said in one place only, how long a file may be.
//! Every rule is a function from a path and a text to complaints, so that each can be shown to catch what it is for.

#![cfg(test)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// Arrows point down only: a module may use those with a lower number, and its own folder. A new module gets its place here.
const LAYERS: [(&str, u8); 11] = [
    ("error", 0),
    ("clock", 1),
    ("descriptor", 0),
    ("framing", 2),
    ("transport", 2),
    ("nursery", 2),
    ("sync", 2),
    ("link", 3),
    ("simulate", 3),
    ("lifecycle", 4),
    ("bridge", 5),
];

/// Names that may be said in one place only: a run of path segments, and the files that may say it.
const ONE_PLACE: [(&[&str], &str); 13] = [
    (&["pyo3"], "src/bridge"),
    (&["pyo3_async_runtimes"], "src/bridge"),
    (&["tokio", "spawn"], "src/nursery"),
    (&["task", "spawn"], "src/nursery"),
    (&["spawn_local"], "src/nursery"),
    (&["spawn_blocking"], "src/nursery"),
    (&["std", "thread"], "src/nursery"),
    (&["tokio", "time"], "src/clock"),
    (&["tokio_util", "time"], "src/clock"),
    (&["Instant"], "src/clock"),
    (&["SystemTime"], "src/clock"),
    (&["clock_gettime"], "src/clock"),
    (&["unsafe"], "src/descriptor"),
];

const LONGEST: usize = 400;

// -- The rules ---------------------------------------------------------------------------------------------------------

fn layers(path: &str, text: &str) -> Vec<String> {
    let Some(own) = home(path) else { return Vec::new() };
    let level = |name: &str| LAYERS.iter().find(|(module, _)| *module == name).map(|(_, level)| *level);
    let Some(own_level) = level(own) else { return vec![format!("{path}: {own} has no place in the table of layers")] };
    // src/link.rs and src/link/mod.rs are one step below the root, src/link/actor.rs is two.
    let depth = path.matches('/').count() - usize::from(path.ends_with("/mod.rs"));
    let mut complaints = Vec::new();
    for said in sayings(text) {
        let ups = said.path.iter().take_while(|segment| *segment == "super").count();
        if ups >= depth + said.nesting {
            complaints.push(format!("{path}:{}: super:: leaves the module; say crate::", said.line));
        }
        let Some(at) = said.path.iter().position(|segment| segment == "crate") else { continue };
        match said.path.get(at + 1).map(|used| (used, level(used))) {
            Some((used, _)) if used == own => {}
            Some((_, Some(used_level))) if used_level < own_level => {}
            Some((used, Some(_))) => complaints.push(format!("{path}:{}: {own} may not use {used}", said.line)),
            Some((used, None)) => {
                complaints.push(format!("{path}:{}: {used} has no place in the table of layers", said.line));
            }
            None => {}
        }
    }
    complaints
}

fn one_place(path: &str, text: &str) -> Vec<String> {
    if !(path.starts_with("src/") && path.ends_with(".rs")) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for said in sayings(text) {
        for (name, place) in ONE_PLACE {
            let inside = path.strip_prefix(place).is_some_and(|rest| rest.starts_with(['/', '.']));
            if !inside && said.path.windows(name.len()).any(|run| run == name) {
                complaints.push(format!("{path}:{}: {} belongs in {place} only", said.line, name.join("::")));
            }
        }
    }
    complaints
}

fn length(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let counted = is_in(path, &["src/", "python/", "tests/"]) && has_ending(path, &[".rs", ".py", ".pyi"]);
    if counted && lines > LONGEST { vec![format!("{path}: {lines} lines, more than {LONGEST}")] } else { Vec::new() }
}

fn header(path: &str, text: &str) -> Vec<String> {
    let code = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let python_ok = || {
        let first = text.lines().map(str::trim).find(code).unwrap_or_default();
        ["\"\"\"", "r\"\"\""].iter().any(|quotes| first.starts_with(quotes))
    };
    if is_in(path, &["src/", "tests/"]) && path.ends_with(".rs") && !text.starts_with("//! ") {
        vec![format!("{path}:1: no //! header that says what lives here")]
    } else if path.ends_with(".py") && !python_ok() {
        vec![format!("{path}:1: no docstring that says what lives here")]
    } else {
        Vec::new()
    }
}

fn homes(path: &str, text: &str) -> Vec<String> {
    // In two pieces, so that this file does not break its own rule.
    let roots = [["/ho", "me/"], ["/ro", "ot/"], ["/Us", "ers/"], ["\\Us", "ers\\"]].map(|pieces| pieces.concat());
    let absolute = |line: &str, root: &String| {
        line.match_indices(root.as_str()).any(|(at, _)| {
            let before = line.get(..at).and_then(|start| start.chars().next_back());
            !before.is_some_and(|c| c.is_alphanumeric() || "_-./~}$".contains(c))
        })
    };
    let lines = text.lines().zip(1..).filter(|(line, _)| roots.iter().any(|root| absolute(line, root)));
    lines.map(|(_, number)| format!("{path}:{number}: somebody's home folder")).collect()
}

// -- Reading Rust ------------------------------------------------------------------------------------------------------

/// One path as it is written, with `use` groups taken apart: `use crate::{a, b::c}` says `crate::a` and `crate::b::c`.
struct Saying {
    path: Vec<String>,
    line: usize,
    /// How many inline modules (`mod tests { ... }`) are around it.
    nesting: usize,
}

fn sayings(text: &str) -> Vec<Saying> {
    let tokens = tokens(text);
    let word = |at: usize| tokens.get(at).map_or("", |(token, _)| token.as_str());
    let mut found = Vec::new();
    let mut braces: Vec<Brace> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if word(at) == "{" {
            braces.push(if at > 1 && word(at - 2) == "mod" { Brace::Module } else { Brace::Other });
        } else if word(at) == "}" {
            braces.pop();
        } else if is_word(word(at)) {
            let mut path = Brace::prefix(&braces);
            path.push(word(at).to_owned());
            let line = tokens.get(at).map_or(0, |(_, line)| *line);
            while word(at + 1) == "::" && is_word(word(at + 2)) {
                path.push(word(at + 2).to_owned());
                at += 2;
            }
            if word(at + 1) == "::" && word(at + 2) == "{" {
                braces.push(Brace::Group(path));
                at += 2;
            } else {
                let nesting = braces.iter().filter(|brace| matches!(brace, Brace::Module)).count();
                found.push(Saying { path, line, nesting });
            }
        }
        at += 1;
    }
    found
}

enum Brace {
    Module,
    Group(Vec<String>),
    Other,
}

impl Brace {
    fn prefix(open: &[Brace]) -> Vec<String> {
        match open.last() {
            Some(Brace::Group(path)) => path.clone(),
            _ => Vec::new(),
        }
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::` and single signs, each with its line; comments and literals are left out.
fn tokens(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let taken = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(literal) = literal(rest) {
            literal
        } else if word > 0 {
            found.push((rest[..word].to_owned(), line));
            word
        } else if rest.starts_with("::") {
            found.push(("::".to_owned(), line));
            2
        } else {
            if !first.is_whitespace() {
                found.push((first.to_string(), line));
            }
            first.len_utf8()
        };
        line += rest[..taken].matches('\n').count();
        rest = &rest[taken..];
    }
    found
}

fn block_comment(rest: &str) -> usize {
    let (mut open, mut at) = (0_usize, 0);
    while at < rest.len() {
        match rest.as_bytes().get(at..at + 2) {
            Some(b"/*") => (open, at) = (open + 1, at + 2),
            Some(b"*/") if open == 1 => return at + 2,
            Some(b"*/") => (open, at) = (open - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of the string, byte string or character that `rest` begins with. A lifetime is none of these.
fn literal(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c: char| !"brc".contains(c))?;
    let body = &rest[prefix..];
    let hashes = body.find(|c| c != '#')?;
    if rest[..prefix].contains('r') && body[hashes..].starts_with('"') {
        let end = format!("\"{}", &body[..hashes]);
        let start = prefix + hashes + 1;
        return Some(rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len()));
    }
    let quote = body.chars().next().filter(|c| *c == '"' || (*c == '\'' && prefix < 2))?;
    let mut escaped = false;
    let ends = |(_, c): &(usize, char)| {
        let end = *c == quote && !escaped;
        escaped = *c == '\\' && !escaped;
        end
    };
    let (end, _) = body.char_indices().skip(1).find(ends)?;
    let lifetime = quote == '\'' && !body[1..].starts_with('\\') && body[1..end].chars().count() != 1;
    (!lifetime).then_some(prefix + end + 1)
}

// -- The house ---------------------------------------------------------------------------------------------------------

/// The top-level module that a file of src belongs to; `lib.rs` is the map of them all and belongs to none.
fn home(path: &str) -> Option<&str> {
    let name = path.strip_prefix("src/")?.strip_suffix(".rs")?.split('/').next()?;
    (name != "lib").then_some(name)
}

fn is_in(path: &str, folders: &[&str]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder))
}

fn has_ending(path: &str, endings: &[&str]) -> bool {
    endings.iter().any(|ending| path.ends_with(ending))
}

/// Every text of the project with its path: what git has or would take, or without git the folders of sources.
fn house() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listing = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8(output.stdout).expect("paths are UTF-8"));
    let mut paths: Vec<String> = listing.unwrap_or_default().lines().map(str::to_owned).collect();
    if paths.is_empty() {
        ["src", "python", "tests"].iter().for_each(|folder| walk(root, folder, &mut paths));
    }
    paths.sort();
    paths.into_iter().filter_map(|path| fs::read_to_string(root.join(&path)).ok().map(|text| (path, text))).collect()
}

fn walk(root: &Path, folder: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() { walk(root, &path, found) } else { found.push(path) }
    }
}

fn check(rule: fn(&str, &str) -> Vec<String>) {
    let complaints: Vec<String> = house().iter().flat_map(|(path, text)| rule(path, text)).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn the_house_is_seen() {
    let paths: Vec<String> = house().into_iter().map(|(path, _)| path).collect();
    for known in ["src/lib.rs", "tests/tidy.rs"] {
        assert!(paths.iter().any(|path| path == known), "{known} not among {} files", paths.len());
    }
}

#[test]
fn layers_point_down_only() {
    check(layers);
    let complains = |path, text| !layers(path, text).is_empty();
    assert!(complains("src/framing/lines.rs", "use crate::link::Link;"));
    assert!(complains("src/framing/lines.rs", "use crate::transport::Transport;"), "neighbours are not below");
    assert!(complains("src/clock.rs", "use std::{fmt, io};\nuse crate::{error::Error, nursery};"));
    assert!(complains("src/nursery/mod.rs", "fn f() -> Result<(), crate::lifecycle::Gone> {}"));
    assert!(complains("src/link/actor.rs", "use super::super::bridge::Port;"));
    assert!(complains("src/link/mod.rs", "use super::bridge;"));
    assert!(complains("src/error.rs", "mod tests { use super::super::link; }"));
    assert!(complains("src/wizard.rs", ""));
    assert!(complains("src/link/mod.rs", "use crate::wizard;"));
    assert!(!complains("src/link/actor.rs", "use crate::{clock::{Clock, Moment}, framing};\nuse super::Link;"));
    assert!(!complains("src/link/actor.rs", "use crate::link::Link;\npub(crate) fn f() {}"));
    assert!(!complains("src/error.rs", "fn f() {}\nmod tests { use super::*; }"));
    assert!(!complains(
        "src/framing/mod.rs",
        "//! See crate::link.\n/* crate::link */ const S: &str = \"crate::link\";"
    ));
    assert!(!complains("src/lib.rs", "pub use crate::bridge::Port;"));
}

#[test]
fn some_names_are_said_in_one_place_only() {
    check(one_place);
    for (line, place) in [
        ("use pyo3::prelude::*;", "src/bridge/link.rs"),
        ("pyo3_async_runtimes::tokio::init();", "src/bridge.rs"),
        ("let task = tokio::spawn(async {});", "src/nursery/mod.rs"),
        ("use tokio::{io, task::{self, spawn as start}};", "src/nursery/mod.rs"),
        ("task::spawn(run());", "src/nursery/mod.rs"),
        ("set.spawn_local(run());", "src/nursery/mod.rs"),
        ("use std::{io, thread};", "src/nursery/thread.rs"),
        ("std::thread::sleep(span);", "src/nursery/thread.rs"),
        ("tokio::time::sleep(span).await;", "src/clock.rs"),
        ("use tokio::{sync, time as when};", "src/clock.rs"),
        ("let then = Instant::now();", "src/clock.rs"),
        ("use std::time::{Duration, SystemTime as Wall};", "src/clock.rs"),
        ("unsafe { close(number) }", "src/descriptor.rs"),
    ] {
        assert!(!one_place("src/link/mod.rs", line).is_empty(), "{line} goes unseen");
        assert!(!one_place("src/clockwork.rs", line).is_empty(), "{line} goes unseen in a file with a similar name");
        assert!(one_place(place, line).is_empty(), "{line} belongs in {place}");
        let quoted =
            format!("/// {line}\nconst TEXT: &str = r#\"{line}\"#; // {line}\nfn quote<'a>(c: &'a u8) {{ '\"' }}");
        assert!(one_place("src/link/mod.rs", &quoted).is_empty(), "{line} is only talked about");
    }
}

#[test]
fn files_are_short() {
    check(length);
    let long = "x\n".repeat(LONGEST + 1);
    for path in ["src/link/mod.rs", "python/labtether/_link.py", "python/labtether/_core.pyi", "tests/test_x.py"] {
        assert!(!length(path, &long).is_empty() && length(path, &long[2..]).is_empty());
    }
}

#[test]
fn files_say_what_they_are() {
    check(header);
    assert!(!header("src/clock.rs", "use std::fmt;\n//! late").is_empty());
    assert!(!header("python/labtether/__init__.py", "").is_empty());
    assert!(!header("tests/test_x.py", "import os\n\"\"\"late\"\"\"").is_empty());
    assert!(header("src/clock.rs", "//! The only clock.").is_empty());
    assert!(header("tools/x.py", "#!/usr/bin/env python3\n\n\"\"\"What it does.\"\"\"").is_empty());
}

#[test]
fn no_file_names_a_home_folder() {
    check(homes);
    for root in [["/ho", "me/"], ["/Us", "ers/"], ["/ro", "ot/"]].map(|pieces| pieces.concat()) {
        assert!(!homes("README.md", &format!("run {root}ada/x.py")).is_empty());
        assert!(homes("README.md", &format!("see example.org{root}x or ~{root}x")).is_empty());
    }
}
