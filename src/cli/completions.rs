//! `callveil completions`: a script that lets a shell complete commands and flags, and in bash the ids of keys too.

use clap::{Args, Command};
use clap_complete::Shell;

use super::{failure::Failure, help};

/// Completes the ids of keys in bash, for the commands that take one. The flags already typed say which ring. The
/// script reads that ring without a terminal, so that nobody is asked for a passphrase.
const BASH_IDS: &str = r#"
_callveil_with_ids() {
    _callveil "$@"
    case "${COMP_WORDS[1]} ${COMP_WORDS[2]}" in COMMANDS) ;; *) return ;; esac
    if [[ $2 == -* || $3 == -* ]]; then return; fi
    local at ring=()
    for ((at = 3; at < COMP_CWORD; at++)); do
        case "${COMP_WORDS[at]}" in
            --config | --identity | --keyring) ring+=("${COMP_WORDS[at]}" "${COMP_WORDS[at + 1]}") ;;
        esac
    done
    local ids=$(setsid --wait "$1" keys list "${ring[@]}" 2>/dev/null </dev/null | grep -oE '^[0-9a-f]{4}\b')
    COMPREPLY+=($(compgen -W "$ids" -- "$2"))
}
complete -F _callveil_with_ids -o bashdefault -o default callveil
"#;

#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut command = help::command();
    let commands = wanting_an_id(&command);
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "callveil", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if args.shell == Shell::Bash {
        script += &BASH_IDS.replace("COMMANDS", &commands.join(" | "));
    }
    super::say::print(script.trim_end())
}

/// The commands of `keys` whose first argument is the id of a key, as patterns of bash's `case`.
fn wanting_an_id(command: &Command) -> Vec<String> {
    let keys = command.get_subcommands().filter(|sub| sub.get_name() == "keys");
    let wants = |sub: &&Command| sub.get_positionals().next().is_some_and(|argument| argument.get_id() == "id");
    let wanting = keys.flat_map(Command::get_subcommands).filter(wants);
    wanting.map(|sub| format!("\"keys {}\"", sub.get_name())).collect()
}
