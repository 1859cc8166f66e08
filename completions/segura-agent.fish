# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_segura_agent_global_optspecs
    string join \n h/help V/version
end

function __fish_segura_agent_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_segura_agent_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_segura_agent_using_subcommand
    set -l cmd (__fish_segura_agent_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c segura-agent -n "__fish_segura_agent_needs_command" -s h -l help -d 'Print help'
complete -c segura-agent -n "__fish_segura_agent_needs_command" -s V -l version -d 'Print version'
complete -c segura-agent -n "__fish_segura_agent_needs_command" -f -a "init" -d 'Fetch the secrets once, publish them, exit 0 when everything is readable on disk'
complete -c segura-agent -n "__fish_segura_agent_needs_command" -f -a "sidecar" -d 'Fetch the secrets, publish them, and renew them until SIGTERM or SIGINT; notify the main process of each change'
complete -c segura-agent -n "__fish_segura_agent_needs_command" -f -a "exec" -d 'Fetch the secrets, run a command as the container\'s main process, renew the secrets beside it, and exit with its code'
complete -c segura-agent -n "__fish_segura_agent_needs_command" -f -a "install" -d 'Copy this binary into a directory, for another image\'s entrypoint to use'
complete -c segura-agent -n "__fish_segura_agent_needs_command" -f -a "secret" -d 'Write, list and read secrets of DevOps Secret Manager'
complete -c segura-agent -n "__fish_segura_agent_needs_command" -f -a "credential" -d 'Write credentials of PAM Core'
complete -c segura-agent -n "__fish_segura_agent_needs_command" -f -a "doctor" -d 'Examine the whole path, from the settings to the processes that would be notified: one line a step, with a remedy for each failure. Provisions and writes nothing'
complete -c segura-agent -n "__fish_segura_agent_needs_command" -f -a "deprovision" -d 'Deprovision the secrets of this pod'
complete -c segura-agent -n "__fish_segura_agent_needs_command" -f -a "check" -d 'Answer an exec probe on the published set and its agent: one line, exit 0 or 1'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand init" -l dry-run -d 'Show each file of the set, and whether it is new, changed, gone or the same; write nothing'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand init" -s V -l version -d 'Print version'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand sidecar" -s h -l help -d 'Print help'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand sidecar" -s V -l version -d 'Print version'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand exec" -s h -l help -d 'Print help'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand exec" -s V -l version -d 'Print version'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand install" -s h -l help -d 'Print help'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand install" -s V -l version -d 'Print version'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and not __fish_seen_subcommand_from put list get" -s h -l help -d 'Print help'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and not __fish_seen_subcommand_from put list get" -s V -l version -d 'Print version'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and not __fish_seen_subcommand_from put list get" -f -a "put" -d 'Create or update secrets, from documents in JSON or YAML'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and not __fish_seen_subcommand_from put list get" -f -a "list" -d 'List the secrets of the authorization and the names of their keys'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and not __fish_seen_subcommand_from put list get" -f -a "get" -d 'Show one secret and the names of its keys'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and __fish_seen_subcommand_from put" -l dry-run -d 'Write nothing; report every mistake that the documents show and, where a vault is set, what each put of a secret replaces'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and __fish_seen_subcommand_from put" -l merge -d 'Keep the keys and the renewals that a document does not name: the secret is read first'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and __fish_seen_subcommand_from put" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and __fish_seen_subcommand_from put" -s V -l version -d 'Print version'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and __fish_seen_subcommand_from list" -l output -d 'A table for people, or JSON for scripts' -r -f -a "table\t''
json\t''"
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and __fish_seen_subcommand_from list" -l show-values -d 'Show the values, too'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and __fish_seen_subcommand_from get" -l output -d 'A table for people, or JSON for scripts' -r -f -a "table\t''
json\t''"
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and __fish_seen_subcommand_from get" -l show-values -d 'Show the values, too'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and __fish_seen_subcommand_from get" -s h -l help -d 'Print help'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand secret; and __fish_seen_subcommand_from get" -s V -l version -d 'Print version'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand credential; and not __fish_seen_subcommand_from put" -s h -l help -d 'Print help'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand credential; and not __fish_seen_subcommand_from put" -s V -l version -d 'Print version'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand credential; and not __fish_seen_subcommand_from put" -f -a "put" -d 'Create or update credentials, from documents in JSON or YAML'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand credential; and __fish_seen_subcommand_from put" -l dry-run -d 'Write nothing; report every mistake that the documents show and, where a vault is set, what each put of a secret replaces'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand credential; and __fish_seen_subcommand_from put" -s h -l help -d 'Print help'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand credential; and __fish_seen_subcommand_from put" -s V -l version -d 'Print version'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand deprovision" -s h -l help -d 'Print help'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand deprovision" -s V -l version -d 'Print version'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand check" -s h -l help -d 'Print help'
complete -c segura-agent -n "__fish_segura_agent_using_subcommand check" -s V -l version -d 'Print version'
