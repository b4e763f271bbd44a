# Ends what a host's workers left, when the host can't do it any more. Run as `sh -c THIS warden TOKEN`.
#
# Standard input ends when the host does, however it does: nobody else holds the other end. Then every process
# whose environment carries a token of that host's workers is killed, again and again until none is left; and then
# those that have another environment, but the mark of which NDA_MARKS are the first digits. What of the host's own is
# to go too it says on standard input, a line each: `= PATH`, a file or a folder with all that is in it, or `* PATH`, all
# whose path begins like that. Files go first, as others look for them; folders last, when nobody writes there any more.
trap '' INT TERM HUP QUIT PIPE USR1 USR2 TSTP
cd /
command -v grep >/dev/null || exit 3
# Of what the host itself was given, nothing is to stay open. Only some shells can close what is beyond 9.
for fd in /proc/self/fd/*; do
    fd=${fd##*/}
    case $fd in
        [0-2]) ;;
        [3-9]) eval "exec $fd>&-" ;;
        *) [ -z "$BASH_VERSION" ] || eval "exec $fd>&-" ;;
    esac
done
token=$1
shift
while IFS= read -r line; do
    set -- "$@" "$line"
done
for line; do
    case $line in
        "= /"*) rm -f -- "${line#??}" ;;
    esac
done

rounds=0
while [ "$rounds" -lt 1000 ]; do
    rounds=$((rounds + 1))
    found=
    # Files that end meanwhile, or that are not ours, are passed over in silence.
    files=$(grep -lsF "NDA_WORKER=$token-" /proc/[0-9]*/environ)
    [ "$files" ] || files=$(grep -ls "^Max file locks  *$NDA_MARKS[0-9]\{6\} " /proc/[0-9]*/limits)
    for file in $files; do
        pid=${file#/proc/}
        pid=${pid%/*}
        # One that has ended and that nobody has reaped keeps its mark.
        case $file in
            */limits) grep -qs '^State:.Z' "/proc/$pid/status" && continue ;;
        esac
        kill -9 "$pid" 2>/dev/null && found=yes
    done
    [ "$found" ] || break
    # At first as fast as they can multiply, then as slowly as the kernel needs to end one.
    [ "$rounds" -lt 50 ] || sleep 1
done

for line; do
    path=${line#??}
    case $line in
        "= /"*) rm -rf -- "$path" ;;
        "* /"*) rm -rf -- "$path"* ;;
    esac
done
