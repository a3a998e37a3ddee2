# Completion of rusty-pinch for fish. Made from src/cli/flags.rs.
function __rusty_pinch_behind --description 'Whether these are the words of the command so far'
    set -l words
    for word in (commandline -opc)[2..-1]
        string match -q -- '-*' $word; and break
        set -a words $word
    end
    test "$words" = "$argv"
end
complete -c rusty-pinch -f
complete -c rusty-pinch -s h -l help -d 'print help, also behind a command'
complete -c rusty-pinch -s V -l version -d 'print the version'
complete -c rusty-pinch -n '__rusty_pinch_behind' -a doctor -d 'Check the configuration and say what is wrong (also without a command).'
complete -c rusty-pinch -n '__rusty_pinch_behind' -a run -d 'Answer one message.'
complete -c rusty-pinch -n '__rusty_pinch_behind' -a repl -d 'Answer messages line by line until end of input, ’exit’ or ’quit’.'
complete -c rusty-pinch -n '__rusty_pinch_behind' -a session -d 'Print a conversation as JSON.'
complete -c rusty-pinch -n '__rusty_pinch_behind session' -a list -d 'List the conversations as JSON.'
complete -c rusty-pinch -n '__rusty_pinch_behind session' -a export -d 'Print a conversation with all that is kept of it.'
complete -c rusty-pinch -n '__rusty_pinch_behind session' -a delete -d 'Delete a conversation for good.'
complete -c rusty-pinch -n '__rusty_pinch_behind' -a tools -d 'Commands about tools.'
complete -c rusty-pinch -n '__rusty_pinch_behind tools' -a list -d 'List the local tools.'
complete -c rusty-pinch -n '__rusty_pinch_behind tools' -a run -d 'Run a local tool, as a ’/tool’ message does.'
complete -c rusty-pinch -n '__rusty_pinch_behind' -a stats -d 'Print the counters and the latest turn as JSON.'
complete -c rusty-pinch -n '__rusty_pinch_behind' -a channels -d 'Commands about channels.'
complete -c rusty-pinch -n '__rusty_pinch_behind channels' -a telegram -d 'Answer Telegram messages until told to stop.'
complete -c rusty-pinch -n '__rusty_pinch_behind channels' -a whatsapp -d 'Answer WhatsApp messages (not in this version yet).'
complete -c rusty-pinch -n '__rusty_pinch_behind channels' -a all -d 'Answer the messages of every enabled channel until told to stop.'
complete -c rusty-pinch -n '__rusty_pinch_behind' -a help -d 'Print this help.'
complete -c rusty-pinch -n '__rusty_pinch_behind doctor' -l json -d 'print the report as JSON'
complete -c rusty-pinch -n '__rusty_pinch_behind doctor' -l quiet -d 'print problems only'
complete -c rusty-pinch -n '__rusty_pinch_behind doctor' -l strict -d 'exit 1 for warnings too'
complete -c rusty-pinch -n '__rusty_pinch_behind run' -l session -x -d 'which conversation (default: default)'
complete -c rusty-pinch -n '__rusty_pinch_behind run' -l message -x -d 'what to answer'
complete -c rusty-pinch -n '__rusty_pinch_behind repl' -l session -x -d 'which conversation (default: default)'
complete -c rusty-pinch -n '__rusty_pinch_behind session' -l session -x -d 'which conversation (default: default)'
complete -c rusty-pinch -n '__rusty_pinch_behind session export' -l session -x -d 'which conversation'
complete -c rusty-pinch -n '__rusty_pinch_behind session export' -l format -x -a 'jsonl json markdown' -d 'how (default: jsonl)'
complete -c rusty-pinch -n '__rusty_pinch_behind session delete' -l session -x -d 'which conversation'
complete -c rusty-pinch -n '__rusty_pinch_behind session delete' -l confirm -d 'really'
complete -c rusty-pinch -n '__rusty_pinch_behind tools run' -l session -x -d 'which conversation (default: default)'
complete -c rusty-pinch -n '__rusty_pinch_behind tools run' -l name -x -d 'which tool'
complete -c rusty-pinch -n '__rusty_pinch_behind tools run' -l args -x -d 'its arguments'
complete -c rusty-pinch -n '__rusty_pinch_behind channels telegram' -l max-messages -x -d 'stop after so many answered messages'
complete -c rusty-pinch -n '__rusty_pinch_behind channels whatsapp' -l max-messages -x -d 'stop after so many answered messages'
complete -c rusty-pinch -n '__rusty_pinch_behind channels all' -l max-messages -x -d 'stop after so many answered messages'
