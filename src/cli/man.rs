//! `callveil man`: manual pages, generated from the text of `--help`.

use std::{fs, io, path::PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;
use roff::{Roff, roman};

use super::{
    failure::Failure,
    help,
    say::{print, tell},
};

#[derive(Args)]
pub(super) struct ManArgs {
    /// Write the pages of all commands into this folder [default: callveil's own, to stdout]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> Result<(), Failure> {
    let mut command = help::command().disable_help_subcommand(true);
    command.build();
    let Some(folder) = &args.folder else {
        let page = page(&command).map_err(Failure::failed)?;
        return print(String::from_utf8_lossy(&page).trim_end());
    };
    let failed = |error| Failure::failed(format_args!("cannot write into {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut commands = vec![&command];
    let mut pages = 0;
    while let Some(command) = commands.pop() {
        let page = page(command).map_err(failed)?;
        fs::write(folder.join(format!("{}.1", name(command))), page).map_err(failed)?;
        pages += 1;
        commands.extend(command.get_subcommands());
    }
    tell(format_args!("wrote {pages} pages to {}", folder.display()));
    Ok(())
}

/// The page's name, such as `callveil-keys-rotate`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone()).manual("callveil manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut page)?;
    }
    if command.get_subcommands().next().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    let rest = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    page.extend_from_slice(sections(&rest).to_roff().as_bytes());
    Ok(page)
}

/// The text at the end of a help page. A line that is not indented and ends in a colon is a heading; the lines below it
/// keep their layout.
fn sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    let mut is_filled = true;
    for line in text.lines() {
        match line.strip_suffix(':').filter(|heading| !heading.starts_with(' ')) {
            Some(heading) => {
                if !is_filled {
                    roff.control("fi", []);
                }
                roff.control("SH", [heading.to_uppercase().as_str()]).control("nf", []);
                is_filled = false;
            }
            None if is_filled && !line.is_empty() => _ = roff.text([roman(line)]),
            None if is_filled => _ = roff.control("PP", []),
            None => _ = roff.text([roman(line)]),
        }
    }
    roff
}
