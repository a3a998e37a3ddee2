# Completion of rusty-pinch for bash. Made from src/cli/flags.rs.
_rusty_pinch() {
    local word=${COMP_WORDS[COMP_CWORD]} command='' offers='' paths=() index
    for ((index = 1; index < COMP_CWORD; index++)); do
        [[ ${COMP_WORDS[index]} == -* ]] && break
        command+="${command:+ }${COMP_WORDS[index]}"
    done
    case "$command ${COMP_WORDS[COMP_CWORD - 1]}" in
        'setup --provider') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'setup --base') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'setup --model') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'setup --key-file') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'setup --bot-token-file') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'setup --allow-from') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'setup --into') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'health --max-age') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'health --channel') COMPREPLY=($(compgen -W 'telegram whatsapp' -- "$word")); return ;;
        'run --session') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'run --message') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'repl --session') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'send --channel') COMPREPLY=($(compgen -W 'telegram whatsapp' -- "$word")); return ;;
        'send --to') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'send --message') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'session --session') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'session export --session') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'session export --format') COMPREPLY=($(compgen -W 'jsonl json markdown' -- "$word")); return ;;
        'session delete --session') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'outbox show --turn') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'outbox retry --turn') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'outbox drop --turn') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'journal verify --channel') COMPREPLY=($(compgen -W 'telegram whatsapp' -- "$word")); return ;;
        'tools run --session') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'tools run --name') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'tools run --args') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'monitor --pid') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'monitor --process-match') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'monitor --interval-ms') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'monitor --storage-refresh-ticks') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'codex generate --prompt') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'codex generate --purpose') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'channels telegram --max-messages') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'channels whatsapp --max-messages') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'channels all --max-messages') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'pair telegram --remove') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'whatsapp validate --level') COMPREPLY=($(compgen -W 'sim bridge live' -- "$word")); return ;;
        'whatsapp validate --out') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'whatsapp validate --only') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
        'whatsapp validate --bridge') COMPREPLY=($(compgen -W '' -- "$word")); return ;;
    esac
    case $command in
        '') offers='doctor setup health run repl send session outbox journal backup restore tools stats monitor codex channels pair whatsapp help' ;;
        'channels') offers='telegram whatsapp all' ;;
        'channels all') offers='--max-messages' ;;
        'channels telegram') offers='--max-messages --delete-webhook' ;;
        'channels whatsapp') offers='--max-messages' ;;
        'codex') offers='status healthcheck generate' ;;
        'codex generate') offers='--prompt --purpose' ;;
        'doctor') offers='--json --quiet --strict --probe --secrets' ;;
        'health') offers='--max-age --ready --channel' ;;
        'journal') offers='verify' ;;
        'journal verify') offers='--channel' ;;
        'monitor') offers='--pid --process-match --interval-ms --storage-refresh-ticks --once --json' ;;
        'outbox') offers='list show retry drop' ;;
        'outbox drop') offers='--turn --confirm' ;;
        'outbox retry') offers='--turn' ;;
        'outbox show') offers='--turn' ;;
        'pair') offers='telegram' ;;
        'pair telegram') offers='--list --remove' ;;
        'repl') offers='--session' ;;
        'restore') offers='--confirm' ;;
        'run') offers='--session --message' ;;
        'send') offers='--channel --to --message --force' ;;
        'session') offers='list export delete --session' ;;
        'session delete') offers='--session --confirm' ;;
        'session export') offers='--session --format' ;;
        'setup') offers='--provider --base --model --key-file --bot-token-file --allow-from --into --no-probe --delete-webhook --no-pair' ;;
        'tools') offers='list run' ;;
        'tools run') offers='--session --name --args' ;;
        'whatsapp') offers='validate' ;;
        'whatsapp validate') offers='--level --out --only --bridge' ;;
    esac
    case $command in
        backup|restore) mapfile -t paths < <(compgen -f -- "$word") ;;
    esac
    COMPREPLY=($(compgen -W "$offers --help --version" -- "$word") "${paths[@]}")
}
complete -F _rusty_pinch rusty-pinch
