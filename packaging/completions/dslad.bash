# Completion for dslad's programs. Nothing is listed here: a program's own --help says what it takes, for each of its verbs.

# The help of the verb that the line names so far, so "dslactl policy set" asks dslactl policy set --help.
_dslad_help() {
    local program="$1" word verbs=()
    shift
    for word in "$@"; do
        [[ $word == -* ]] && continue
        "$program" "${verbs[@]}" --help 2>/dev/null | _dslad_verbs | grep -qx -- "$word" || continue
        verbs+=("$word")
    done
    "$program" "${verbs[@]}" --help 2>/dev/null
}

_dslad_verbs() {
    sed -n '/^Subcommands:/,/^$/s/^  \([a-z][a-z-]*\).*/\1/p'
}

_dslad_options() {
    grep -oE '^ *(-[A-Za-z],)?--[a-z][a-z0-9-]*' | grep -oE -- '--[a-z0-9-]+'
}

# What an option takes, where its help says "one of" in braces.
_dslad_choices() {
    grep -E -- "^ *(-[A-Za-z],)?$1[ :]" | sed -n 's/^[^{]*{\([^}]*\)}.*/\1/p' | tr ',' '\n'
}

_dslad() {
    local current previous help words_before choices
    current="${COMP_WORDS[COMP_CWORD]}"
    previous="${COMP_WORDS[COMP_CWORD - 1]}"
    words_before=("${COMP_WORDS[@]:1:COMP_CWORD-1}")
    help="$(_dslad_help "$1" "${words_before[@]}")"
    COMPREPLY=()
    if [[ $previous == --* ]]; then
        choices="$(_dslad_choices "$previous" <<<"$help")"
        if [[ -n $choices ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$current")
            return
        fi
    fi
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_dslad_options <<<"$help")" -- "$current")
        return
    fi
    mapfile -t COMPREPLY < <(compgen -W "$(_dslad_verbs <<<"$help")" -- "$current")
    [[ ${#COMPREPLY[@]} -gt 0 ]] || compopt -o default # files
}
complete -F _dslad dslad dslactl dslad-worker dslad-model
