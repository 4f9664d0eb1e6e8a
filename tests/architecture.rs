//! The rules of ARCHITECTURE.md that a machine can check, over the sources of `src/`.
//!
//! Promises: each rule is seen to catch what it forbids, in the tests at the end.
//! Refuses: to look at `super::` paths, which stay inside a module.

#![expect(clippy::unwrap_used, reason = "a source that cannot be read fails the test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Modules by floor; imports point down. The modules of the top floor may use each other, and nobody uses them.
const FLOORS: [&[&str]; 9] = [
    &["domain"],
    &["config", "media", "protocol", "runtime"],
    &["auth", "journal", "objects", "store", "telemetry"],
    &["persist"],
    &["tracks", "upload"],
    &["session"],
    &["erasure"],
    &["http"],
    &["app", "backends", "check", "cli", "keys", "main", "metrics", "preparation", "reload", "serve", "tls"],
];

/// Crates that are known in one place, so that they can be replaced there: where they may appear.
const CONFINED_CRATES: [(&str, &str); 6] = [
    ("sqlx", "src/store/"),
    ("aws_sdk_s3", "src/objects/"),
    ("aws_smithy_http_client", "src/objects/"),
    ("socketioxide_parser_common", "src/protocol/"),
    ("dotenvy", "src/config/"),
    ("prometheus_client", "src/metrics.rs"),
];

struct Source {
    /// From the root of the repository.
    path: String,
    text: String,
    /// Without comments and the insides of strings.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: code_only(text) }
    }

    /// `src/store/postgres/reads.rs` belongs to `store`; `lib.rs` to nothing.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
                found.push(Source::new(&name, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// Leaves code alone and empties comments and strings.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => 1 + end_of_string(&rest[1..]),
            'r' if rest.starts_with("r\"") && !code.ends_with(is_word) => {
                2 + rest[2..].find('"').map_or(rest.len() - 2, |end| end + 1)
            }
            'r' if rest.starts_with("r#\"") && !code.ends_with(is_word) => {
                3 + rest[3..].find("\"#").map_or(rest.len() - 3, |end| end + 2)
            }
            '\'' if rest.starts_with("'\"'") => 3,
            '\'' if rest.starts_with("'\\\"'") => 4,
            _ => {
                code.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        code.push(' ');
        rest = &rest[skipped..];
    }
    code
}

/// After the closing quote.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn word(text: &str) -> &str {
    &text[..text.find(|character| !is_word(character)).unwrap_or(text.len())]
}

/// What follows `root::` anywhere in the code: `crate::a::b` gives a, `crate::{a::{b, c}, d}` gives a and d.
fn segments_after<'a>(code: &'a str, root: &str) -> Vec<&'a str> {
    let path = format!("{root}::");
    let mut found = Vec::new();
    for (start, _) in code.match_indices(&path) {
        if code[..start].ends_with(|before| is_word(before) || before == ':' || before == '$') {
            continue;
        }
        let rest = &code[start + path.len()..];
        let Some(mut inside) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let (mut depth, mut at_item) = (0_usize, true);
        while let Some(next) = inside.chars().next() {
            match next {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => at_item = true,
                _ if at_item && is_word(next) => {
                    found.push(word(inside));
                    at_item = false;
                }
                _ => {}
            }
            inside = &inside[next.len_utf8()..];
        }
    }
    found
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

fn imports_that_do_not_point_down(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    let top = FLOORS.len() - 1;
    for source in sources.iter().filter(|source| source.path != "src/lib.rs") {
        let module = source.module();
        let Some(floor) = floor_of(module) else {
            complaints.push(format!("{}: module {module} has no floor", source.path));
            continue;
        };
        let own_crate = if module == "main" { "shopaloud" } else { "crate" };
        for used in segments_after(&source.code, own_crate) {
            match floor_of(used) {
                _ if used == module => {}
                Some(below) if below < floor || (floor == top && below == top) => {}
                Some(_) => complaints.push(format!("{}: {module} must not know {used}", source.path)),
                None => complaints.push(format!("{}: uses {used}, which has no floor", source.path)),
            }
        }
    }
    complaints
}

fn circles(sources: &[Source]) -> Vec<String> {
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for source in sources {
        let targets = segments_after(&source.code, "crate").into_iter().filter(|target| *target != source.module());
        edges.entry(source.module()).or_default().extend(targets);
    }
    let reaches_itself = |start: &str| {
        let (mut seen, mut waiting) = (Vec::new(), vec![start]);
        while let Some(module) = waiting.pop() {
            for target in edges.get(module).into_iter().flatten() {
                if *target == start {
                    return true;
                }
                if !seen.contains(target) {
                    seen.push(*target);
                    waiting.push(target);
                }
            }
        }
        false
    };
    edges.keys().filter(|module| reaches_itself(module)).map(|module| format!("{module} needs itself")).collect()
}

fn files_without_a_preface(sources: &[Source]) -> Vec<String> {
    sources.iter().filter(|source| !source.text.starts_with("//! ")).map(|source| source.path.clone()).collect()
}

fn files_that_use_a_crate(sources: &[Source], name: &str) -> Vec<String> {
    let uses = |source: &&Source| {
        !segments_after(&source.code, name).is_empty() || source.code.contains(&format!("use {name}"))
    };
    sources.iter().filter(uses).map(|source| source.path.clone()).collect()
}

fn crates_out_of_their_place(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, place) in CONFINED_CRATES {
        let strays = files_that_use_a_crate(sources, name).into_iter().filter(|path| !path.starts_with(place));
        complaints.extend(strays.map(|path| format!("{path}: {name} belongs to {place}")));
    }
    complaints
}

/// The environment is read in `config`; the compile-time `env!` is something else.
fn readers_of_the_environment(sources: &[Source]) -> Vec<String> {
    let reads = |source: &&Source| segments_after(&source.code, "std").contains(&"env");
    let strays = sources.iter().filter(|source| source.module() != "config").filter(reads);
    strays.map(|source| source.path.clone()).collect()
}

fn files_that_end_the_process(sources: &[Source]) -> Vec<String> {
    let ends = |source: &&Source| source.module() != "main" && source.code.contains("process::exit");
    sources.iter().filter(ends).map(|source| source.path.clone()).collect()
}

const NOTHING: [String; 0] = [];

#[test]
fn imports_point_down() {
    assert_eq!(imports_that_do_not_point_down(&sources("src")), NOTHING);
}

#[test]
fn there_are_no_circles() {
    assert_eq!(circles(&sources("src")), NOTHING);
}

#[test]
fn every_file_says_what_it_owns() {
    for folder in ["src", "tests", "benches", "fuzz/fuzz_targets"] {
        assert_eq!(files_without_a_preface(&sources(folder)), NOTHING);
    }
}

#[test]
fn replaceable_crates_are_known_in_one_place() {
    assert_eq!(crates_out_of_their_place(&sources("src")), NOTHING);
}

/// It is deprecated upstream: the day it goes, one file changes.
#[test]
fn the_websocket_crate_is_imported_in_one_file() {
    let files = files_that_use_a_crate(&sources("src"), "actix_web_actors");
    assert_eq!(files.len(), 1, "{files:?}");
}

#[test]
fn only_config_reads_the_environment() {
    assert_eq!(readers_of_the_environment(&sources("src")), NOTHING);
}

#[test]
fn only_main_ends_the_process() {
    assert_eq!(files_that_end_the_process(&sources("src")), NOTHING);
}

mod each_rule_catches_what_it_forbids {
    use super::*;

    #[test]
    fn an_import_that_points_up_or_sideways() {
        let complaints = |path, text| imports_that_do_not_point_down(&[Source::new(path, text)]);
        assert_eq!(complaints("src/store/rows.rs", "use crate::domain::Event;"), NOTHING);
        assert_eq!(complaints("src/app.rs", "use crate::{backends, http::HttpState};"), NOTHING);
        assert_eq!(
            complaints(
                "src/store/rows.rs",
                "use crate::{\n    domain::{Event, SessionId},\n    http::{self, Problem},\n};"
            ),
            ["src/store/rows.rs: store must not know http"]
        );
        assert_eq!(
            complaints("src/store/mod.rs", "fn f() { crate::objects::g() }"),
            ["src/store/mod.rs: store must not know objects"]
        );
        assert_eq!(complaints("src/misc.rs", ""), ["src/misc.rs: module misc has no floor"]);
        assert_eq!(
            complaints("src/http/mod.rs", "use crate::misc::f;"),
            ["src/http/mod.rs: uses misc, which has no floor"]
        );
    }

    #[test]
    fn a_circle() {
        let sources = [
            Source::new("src/app.rs", "use crate::check::run;"),
            Source::new("src/check.rs", "use crate::backends;"),
            Source::new("src/backends.rs", "use crate::app;"),
        ];
        assert_eq!(circles(&sources).len(), 3);
        assert_eq!(circles(&sources[..2]), NOTHING);
    }

    #[test]
    fn a_file_without_a_preface() {
        let sources = [Source::new("src/a.rs", "//! Owns.\n"), Source::new("src/b.rs", "\n//! Late.\n")];
        assert_eq!(files_without_a_preface(&sources), ["src/b.rs"]);
    }

    #[test]
    fn a_crate_out_of_its_place() {
        let sources = [
            Source::new("src/store/a.rs", "use sqlx::PgPool;"),
            Source::new("src/http/b.rs", "fn f(pool: &sqlx::PgPool) {}"),
            Source::new("src/http/c.rs", "// use sqlx::PgPool;\nconst S: &str = \"sqlx::\";"),
        ];
        assert_eq!(crates_out_of_their_place(&sources), ["src/http/b.rs: sqlx belongs to src/store/"]);
    }

    #[test]
    fn a_second_file_with_the_websocket_crate() {
        let sources = [
            Source::new("src/session/a.rs", "use actix_web_actors::ws;"),
            Source::new("src/session/b.rs", "use {actix_web_actors::ws::Message, std::fmt};"),
            Source::new("src/session/c.rs", "//! Not actix_web_actors::ws.\n"),
        ];
        assert_eq!(files_that_use_a_crate(&sources, "actix_web_actors").len(), 2);
    }

    #[test]
    fn the_environment_read_elsewhere() {
        let sources = [
            Source::new("src/config/a.rs", "std::env::var(NAME)"),
            Source::new("src/app.rs", "use std::{collections::HashMap, env};"),
            Source::new("src/http/ops.rs", "env!(\"CARGO_PKG_NAME\")"),
        ];
        assert_eq!(readers_of_the_environment(&sources), ["src/app.rs"]);
    }

    #[test]
    fn the_process_ended_elsewhere() {
        let sources =
            [Source::new("src/app.rs", "std::process::exit(1)"), Source::new("src/main.rs", "process::exit(1)")];
        assert_eq!(files_that_end_the_process(&sources), ["src/app.rs"]);
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        let text =
            "let a = \"// crate::x\"; // crate::y\nlet q = '\"'; crate::z; let r = r#\"crate::v \" \"#; /* crate::w */";
        assert_eq!(segments_after(&code_only(text), "crate"), ["z"]);
    }
}
