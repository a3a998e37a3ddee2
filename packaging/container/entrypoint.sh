#!/bin/sh
# rusty-pinch-entrypoint ARGUMENTS: logs Codex in, where that is wanted and needed, then becomes rusty-pinch ARGUMENTS.
#
# With the variables of the earlier runtime's container. Nothing here is fatal: whoever asks a Codex without a login is told so by
# the program. What is said goes to standard error, one JSON object a line, and never holds a secret.
set -u
umask 077
codex=${RUSTY_PINCH_CODEX_CLI_BIN:-codex}
CODEX_HOME=${RUSTY_PINCH_CODEX_HOME:-${CODEX_HOME:-/var/lib/rusty-pinch/codex-home}}
export CODEX_HOME
auth=$CODEX_HOME/auth.json

say() { printf '{"event":"entrypoint","message":"%s"}\n' "$1" >&2; }

# Words of Codex, which a person has to read: an address and a code.
told() { LC_ALL=C sed -u 's/\x1b\[[0-9;]*m//g; s/[^ -~]//g; s/[\\"]/\\&/g; s/.*/{"event":"entrypoint","codex":"&"}/' >&2; }

flag() { # VALUE DEFAULT
    case $(printf %s "$1" | tr -d '[:space:]' | tr '[:upper:]' '[:lower:]') in
        1 | true | yes | on) return 0 ;;
        0 | false | no | off) return 1 ;;
        *) [ "$2" = true ] ;;
    esac
}

# The value of a variable, or the content of the file that NAME_FILE names.
secret() { # NAME
    value=$(printenv "$1" || true)
    if [ -z "$value" ]; then
        file=$(printenv "$1_FILE" || true)
        [ -z "$file" ] || value=$(cat "$file")
    fi
    printf %s "$value"
}

is_logged_in() { timeout 20 "$codex" login status < /dev/null > /dev/null 2>&1; }

# Whatever stands in its place is not destroyed by something that cannot be read.
restore() { # COMMAND that prints auth.json
    if "$@" > "$auth.new" 2> /dev/null && [ -s "$auth.new" ]; then
        mv "$auth.new" "$auth"
    else
        rm -f "$auth.new"
        return 1
    fi
}
decode() { secret RUSTY_PINCH_CODEX_CHATGPT_AUTH_JSON_B64 | base64 -d; }

log_in_with_account() {
    file=${RUSTY_PINCH_CODEX_CHATGPT_AUTH_FILE:-}
    if [ -n "$file" ]; then
        restore cat "$file" || say 'the file that RUSTY_PINCH_CODEX_CHATGPT_AUTH_FILE names cannot be read'
    elif [ -n "$(secret RUSTY_PINCH_CODEX_CHATGPT_AUTH_JSON_B64)" ]; then
        restore decode || say 'RUSTY_PINCH_CODEX_CHATGPT_AUTH_JSON_B64 is not base64'
    fi
    is_logged_in && return
    flag "${RUSTY_PINCH_CODEX_CHATGPT_DEVICE_AUTH:-}" true || return
    say 'Codex waits for somebody to open the address below and to enter the code'
    timeout "${RUSTY_PINCH_CODEX_LOGIN_TIMEOUT_SECS:-300}" "$codex" login --device-auth < /dev/null 2>&1 | told
}

log_in_with_key() {
    name=${RUSTY_PINCH_CODEX_AUTO_LOGIN_API_KEY_ENV:-RUSTY_PINCH_OPENAI_API_KEY}
    key=$(secret "$name")
    if [ -n "$key" ]; then
        printf '%s\n' "$key" | timeout 60 "$codex" login --with-api-key 2>&1 | told
    else
        say 'the variable that RUSTY_PINCH_CODEX_AUTO_LOGIN_API_KEY_ENV names is not set'
    fi
}

prepare() {
    if ! mkdir -p "$CODEX_HOME" 2> /dev/null || [ ! -w "$CODEX_HOME" ]; then
        say 'CODEX_HOME cannot be written to: give it to the user of this container'
        return
    fi
    [ "$(stat -c %u "$CODEX_HOME")" != "$(id -u)" ] || chmod 0700 "$CODEX_HOME"
    # A login from before CODEX_HOME was used.
    if [ ! -e "$auth" ] && [ -f "${HOME:-}/.codex/auth.json" ]; then restore cat "$HOME/.codex/auth.json"; fi
    is_logged_in && return
    flag "${RUSTY_PINCH_CODEX_AUTO_LOGIN:-}" true || return
    case ${RUSTY_PINCH_CODEX_AUTO_LOGIN_MODE:-chatgpt} in
        chatgpt) log_in_with_account ;;
        api_key | api-key | apikey | api) log_in_with_key ;;
        *) say 'RUSTY_PINCH_CODEX_AUTO_LOGIN_MODE is neither chatgpt nor api_key' ;;
    esac
    if is_logged_in; then say 'Codex is logged in'; else say 'Codex is not logged in'; fi
}

if flag "${RUSTY_PINCH_CODEX_ENABLED:-}" false && command -v "$codex" > /dev/null; then prepare; fi
# Nobody needs it any more.
unset RUSTY_PINCH_CODEX_CHATGPT_AUTH_JSON_B64
exec rusty-pinch "$@"
