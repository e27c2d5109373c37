# The first process of a container into which the server is uploaded. It waits for the file, and the
# server takes its place: same process, same arguments.
# $1: the directories that the server may be in, $2: a word that no other Pod has, $3: the longest wait in
# seconds, the others: the arguments of the server.
directories=$1 nonce=$2 left=$3 timer=
shift 3

# What the image has there, such as the server of a sandbox that it was made from, was never verified.
choose_directory() {
  for directory in $directories; do
    server=$directory/sandbox-sshd
    { [ -d "$directory" ] || mkdir -p "$directory"; } &&
      { [ ! -e "$server" ] || rm -f "$server"; } &&
      echo "$$ $nonce" >"$directory/waiting" && return
  done 2>/dev/null
  return 1
}
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
# Who uploads reads the file `waiting` after the server has its name, and this loop looks for the server
# after it has written the file. So no order of the two loses the signal.
choose_directory ||
  fail 1 "the SSH server cannot be uploaded: its user can write to none of $directories; set SANDBOX_INJECTION=upload-volume"
until [ -e "$server" ]; do
  [ "$left" -gt 0 ] || fail 82 "no client has ever connected"
  left=$((left - 1))
  sleep 1 &
  timer=$!
  wait "$timer"
  [ "$?" -ne 127 ] || fail 127 "the image has no program sleep"
done
run_server "$@"
