#!/bin/sh
# Connects standard input and output to a host and a port through the sandbox's way out. A ProxyCommand for ssh:
#   ssh -o ProxyCommand='sh "$HOME/.sandbox/connect" %h %p' git@example.com
# Written by the client that serves the way out.
for server in /.sandbox/sandbox-sshd /usr/local/bin/sandbox-sshd /sandbox-sshd \
    /tmp/.sandbox/sandbox-sshd /var/tmp/.sandbox/sandbox-sshd /dev/.sandbox/sandbox-sshd; do
    # Others can write to some of these directories.
    case $server in
    /tmp/* | /var/tmp/*) [ -O "$server" ] || continue ;;
    esac
    if [ -x "$server" ]; then
        HTTPS_PROXY=http://127.0.0.1:@PORT@ https_proxy=http://127.0.0.1:@PORT@ exec "$server" connect "$1" "$2"
    fi
done
if ! command -v bash >/dev/null; then
    echo "connect: bash is missing, and so is sandbox-sshd; install bash" >&2
    exit 1
fi
exec bash -c '
cr=$(printf "\r")
host=$1 port=$2
case $host in
localhost | 127.* | ::1)
    exec 3<>"/dev/tcp/$host/$port" || exit 1
    ;;
*)
    exec 3<>/dev/tcp/127.0.0.1/@PORT@ || exit 1
    case $host in *:*) host="[$host]" ;; esac
    printf "CONNECT %s:%s HTTP/1.1\r\nHost: %s:%s\r\n\r\n" "$host" "$port" "$host" "$port" >&3
    # Byte by byte, because what follows the head is for ssh.
    IFS= read -r status <&3 || exit 1
    length=0
    while IFS= read -r field <&3 && [ "$field" != "$cr" ]; do
        case $field in [Cc]ontent-[Ll]ength:*) length=${field%"$cr"} length=${length##*[!0-9]} ;; esac
    done
    case $status in
    "HTTP/1."[01]" 200"*) ;;
    *)
        echo "connect: ${status%"$cr"}" >&2
        head -c "${length:-0}" <&3 >&2
        exit 1
        ;;
    esac
    ;;
esac
exec 4<&0
cat <&4 >&3 2>/dev/null &
exec 4<&- </dev/null
# When the other side has ended, standard output is closed, and ssh ends.
cat <&3
kill $! 2>/dev/null
' connect "$1" "$2"
