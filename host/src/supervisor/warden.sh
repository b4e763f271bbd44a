# Ends what a host's workers left, when the host can't do it any more. Run as `sh -c THIS warden TOKEN [FILE]`.
#
# Standard input ends when the host does, however it does: nobody else holds the other end. Then every process
# whose environment carries a token of that host's workers is killed, again and again until none is left. The
# host's FILE, which has its number in its name, goes first.
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
while read -r _; do :; done
[ -z "$2" ] || rm -f -- "$2"

rounds=0
while [ "$rounds" -lt 1000 ]; do
    rounds=$((rounds + 1))
    found=
    # Files that end meanwhile, or that are not ours, are passed over in silence.
    for file in $(grep -lsF "NDA_WORKER=$1-" /proc/[0-9]*/environ); do
        pid=${file#/proc/}
        kill -9 "${pid%/environ}" 2>/dev/null && found=yes
    done
    [ "$found" ] || exit 0
    # At first as fast as they can multiply, then as slowly as the kernel needs to end one.
    [ "$rounds" -lt 50 ] || sleep 1
done
