//! Completion: scripts for shells, and words for kubectl's own `kubectl_complete-NAME`.

use std::path::{Path, PathBuf};

use clap::{Arg, Command};
use clap_complete::Shell;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use crate::app::App;
use crate::args::GlobalArgs;
use crate::error::{Error, Result};
use crate::printer::Printer;

/// No files besides what is proposed, in cobra's notation, which kubectl reads.
const NO_FILES: u8 = 4;
/// Files, since nothing is known.
const FILES: u8 = 0;

/// The script of a shell.
pub fn script(printer: &Printer, command: &Command, shell: Shell) {
    let mut command = command.clone();
    let name = command.get_bin_name().unwrap_or(command.get_name()).replace(' ', "-");
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut bytes);
    printer.data(&String::from_utf8_lossy(&bytes));
}

/// Writes the programs that kubectl asks for words: `kubectl_complete-NAME`, for this plugin and those beside it.
pub fn install(printer: &Printer, folder: Option<&Path>, plugins: &[&str]) -> Result<()> {
    let failed = |what: String| move |error: std::io::Error| Error::new(what).caused_by(&error);
    let exe = std::env::current_exe().map_err(failed("this program does not know where it is".into()))?;
    let beside = exe.parent().map(Path::to_owned).unwrap_or_default();
    let folder = match folder {
        Some(folder) => folder.to_owned(),
        None => default_folder(&beside)?,
    };
    std::fs::create_dir_all(&folder).map_err(failed(format!("cannot make {}", folder.display())))?;
    for plugin in plugins {
        let program = beside.join(format!("kubectl-{plugin}"));
        if !program.exists() {
            continue;
        }
        let file = folder.join(format!("kubectl_complete-{plugin}"));
        let quoted = program.display().to_string().replace('\'', "'\\''");
        let text = format!("#!/bin/sh\nexec '{quoted}' __complete \"$@\"\n");
        let write = || -> std::io::Result<()> {
            std::fs::write(&file, text)?;
            #[cfg(unix)]
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            Ok(())
        };
        write().map_err(failed(format!("cannot write {}", file.display())))?;
        printer.result(&format!("wrote {}", file.display()));
    }
    let on_path =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|path| path == folder);
    if !on_path {
        printer.warning(&format!(
            "{} is not on the PATH; kubectl looks for completion there only",
            folder.display()
        ));
    }
    Ok(())
}

/// Beside the plugin if we may write there, else where users keep programs.
fn default_folder(beside: &Path) -> Result<PathBuf> {
    let probe = beside.join(format!(".kplane-{}", std::process::id()));
    if std::fs::write(&probe, "").is_ok() {
        let _ = std::fs::remove_file(probe);
        return Ok(beside.to_owned());
    }
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local").join("bin")).ok_or_else(|| {
        Error::new("there is no folder to write to").hint("name one on the PATH with --directory")
    })
}

/// Proposes words for the last of those typed.
pub async fn propose(command: &Command, words: &[String]) -> Result<()> {
    let proposal = for_words(command, words);
    let mut candidates = proposal.candidates;
    if proposal.control_planes {
        // Nothing to propose is no error: the user sees the reason when running the command.
        candidates.extend(control_planes().await.unwrap_or_default());
    }
    let last = words.last().map(String::as_str).unwrap_or_default();
    candidates.retain(|candidate| candidate.starts_with(last));
    candidates.sort();
    candidates.dedup();
    let mut text: String = candidates.iter().map(|candidate| format!("{candidate}\n")).collect();
    text.push_str(&format!(":{}\n", proposal.directive));
    Printer::new(false).data(&text);
    Ok(())
}

#[derive(Debug, PartialEq)]
struct Proposal {
    candidates: Vec<String>,
    control_planes: bool,
    directive: u8,
}

fn for_words(command: &Command, words: &[String]) -> Proposal {
    let nothing = || Proposal { candidates: Vec::new(), control_planes: false, directive: NO_FILES };
    let (last, typed) = match words.split_last() {
        Some((last, typed)) => (last.as_str(), typed),
        None => ("", &[][..]),
    };
    let mut command = command.clone();
    command.build();
    let mut at = &command;
    let mut positional = 0;
    let mut value_of: Option<&Arg> = None;
    for word in typed {
        if value_of.take().is_some() {
            continue;
        }
        if let Some(flag) = word.strip_prefix('-') {
            value_of = find_flag(at, flag).filter(|arg| takes_value(arg) && !word.contains('='));
        } else if let Some(next) = at.find_subcommand(word) {
            at = next;
        } else {
            positional += 1;
        }
    }
    if let Some(arg) = value_of {
        let candidates = values(arg);
        let directive = if candidates.is_empty() { FILES } else { NO_FILES };
        return Proposal { candidates, directive, ..nothing() };
    }
    if last.starts_with('-') {
        let flags = at.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(Arg::get_long);
        return Proposal { candidates: flags.map(|flag| format!("--{flag}")).collect(), ..nothing() };
    }
    let subcommands: Vec<String> = at
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
        .map(|sub| sub.get_name().to_owned())
        .collect();
    if !subcommands.is_empty() {
        return Proposal { candidates: subcommands, ..nothing() };
    }
    match at.get_positionals().nth(positional) {
        Some(arg) if arg.get_id() == "existing" => Proposal { control_planes: true, ..nothing() },
        Some(arg) => Proposal { candidates: values(arg), ..nothing() },
        None => nothing(),
    }
}

fn find_flag<'a>(command: &'a Command, flag: &str) -> Option<&'a Arg> {
    let name = flag.trim_start_matches('-').split('=').next().unwrap_or_default();
    command.get_arguments().find(|arg| {
        arg.get_long() == Some(name) || arg.get_short().is_some_and(|short| name.chars().eq([short]))
    })
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set()
}

fn values(arg: &Arg) -> Vec<String> {
    if !arg.get_action().takes_values() {
        return Vec::new();
    }
    arg.get_possible_values().iter().filter(|v| !v.is_hide_set()).map(|v| v.get_name().to_owned()).collect()
}

async fn control_planes() -> Result<Vec<String>> {
    let app = App::new(&GlobalArgs::default(), None)?;
    let management = app.management().await?;
    let api: Api<kplane_crds::v1alpha1::ControlPlane> = Api::all(management.client.clone());
    let list = api.list_metadata(&ListParams::default()).await?;
    Ok(list.items.iter().map(ResourceExt::name_any).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn propose(words: &[&str]) -> Proposal {
        let command = Command::new("kubectl-vcp")
            .subcommand(Command::new("create").arg(Arg::new("name")).arg(Arg::new("class").long("class")))
            .subcommand(
                Command::new("delete")
                    .arg(Arg::new("existing"))
                    .arg(Arg::new("output").short('o').long("output").value_parser(["json", "yaml"])),
            );
        for_words(&command, &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_are_proposed_by_place() {
        assert!(propose(&["cr"]).candidates.contains(&"create".to_owned()));
        assert!(propose(&["delete", ""]).control_planes);
        assert!(!propose(&["create", ""]).control_planes);
        assert!(!propose(&["delete", "demo", ""]).control_planes);
        assert_eq!(propose(&["delete", "-o", ""]).candidates, ["json", "yaml"]);
        assert!(propose(&["delete", "-o", "json", ""]).control_planes);
        assert!(propose(&["create", "--"]).candidates.contains(&"--class".to_owned()));
        assert_eq!(propose(&["create", "--class", ""]).directive, FILES);
    }
}
