# The first process of a container into which the server is uploaded. It waits for the file, and the
# server takes its place: same process, same arguments.
# $1: the directory, $2: the longest wait in seconds, the others: the arguments of the server.
directory=$1 left=$2 timer=
server=$directory/sandbox-sshd
shift 2

run_server() {
  # The server has no children that it did not start.
  [ -z "$timer" ] || { kill "$timer"; wait "$timer"; } 2>/dev/null
  exec "$server" "$@"
}
fail() {
  echo "$2" >&2
  exit "$1"
}

trap 'run_server "$@"' USR1
trap 'fail 143 "the server was ended by a signal"' TERM INT
# Who uploads reads this file after the server has its name, and this loop looks for the server after
# it has written the file. So no order of the two loses the signal.
echo "$$" >"$directory/waiting" || fail 1 "no file can be written to $directory"
until [ -e "$server" ]; do
  [ "$left" -gt 0 ] || fail 82 "no client has ever connected"
  left=$((left - 1))
  sleep 1 &
  timer=$!
  wait "$timer"
  [ "$?" -ne 127 ] || fail 127 "the image has no program sleep"
done
run_server "$@"
