# What the recipes for one's own files share: their options, and where input and output lie.
# shellcheck shell=bash

# usage: the comment at the top of the recipe. fail MESSAGE: says what is wrong, and how to see how the recipe is called.
usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; }
fail() { printf 'error: %s\n%s --help lists the options\n' "$1" "$0" >&2; exit 2; }

# read_options "NAME ..." "FLAG ..." "$@": sets the variable of each option given (`--text_column x` sets TEXT_COLUMN, a
# flag its own to true), and MORE to what stands behind `--`.
read_options() {
    local names=" $1 " flags=" $2 " name
    shift 2
    MORE=()
    while [ $# -gt 0 ]; do
        name=${1#--}
        case $1 in
            --help | -h) usage; exit 0 ;;
            --) MORE=("${@:2}"); return ;;
        esac
        if [[ $1 == --* && $flags == *" $name "* ]]; then
            declare -g "${name^^}=true"
            shift
        elif [[ $1 == --* && $names == *" $name "* ]]; then
            [ $# -ge 2 ] || fail "$1 needs a value"
            declare -g "${name^^}=$2"
            shift 2
        else
            fail "unknown option '$1' (options of the commands go behind --)"
        fi
    done
}

# require_paths: INPUT and OUTPUT are given. resolve_paths: INPUT as an absolute path, RUN and CORPUS out of both; commands
# run in the repository, paths are meant from where the user stands.
require_paths() {
    [ -n "$INPUT" ] || fail "--input is missing"
    [ -n "$OUTPUT" ] || fail "--output is missing"
}

resolve_paths() {
    case $INPUT in *://*) ;; *) INPUT=$(realpath -ms "$INPUT") ;; esac
    RUN=$(realpath -m "$OUTPUT") CORPUS=$INPUT
    [ ! -f "$RUN" ] || fail "--output $RUN is a file: name a folder"
    local place=${INPUT#file://}
    place=${place%%/\*\**}  # of a pattern over all folders, where it begins
    case $RUN/ in
        "$INPUT"/* | "$(realpath -m "$place")"/*)
            fail "--output $RUN lies inside --input $INPUT: a rerun would read its own results" ;;
    esac
}
