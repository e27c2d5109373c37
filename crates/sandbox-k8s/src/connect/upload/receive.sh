# Receives the server on standard input, and passes it to the first process of the container.
# $1: the directories that the server may be in, $2: a word that no other Pod has, $3: a name for this attempt
# alone.
directories=$1 nonce=$2 attempt=$3

tell() {
  echo "sandbox-upload: $*"
}
fail() {
  tell "$@"
  exit 1
}
# The first process writes its number and the word to the directory that it has chosen.
find_directory() {
  for directory in $directories; do
    read -r waiting found <"$directory/waiting" && [ "$found" = "$nonce" ] && return
  done 2>/dev/null
  return 1
}

tries=0
until find_directory; do
  [ "$tries" -lt 20 ] || fail early
  tries=$((tries + 1))
  sleep 0.05 2>/dev/null || sleep 1
done
server=$directory/sandbox-sshd partial=$directory/.$attempt.partial

# An earlier attempt has succeeded, and only its response was lost.
[ ! -e "$server" ] || { tell done; exit; }
missing=
for program in cat chmod head mv rm uname wc; do
  command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
[ -z "$missing" ] || fail "missing$missing"
trap 'rm -f "$partial"' EXIT
(: >"$partial") || fail unwritable
hash=
command -v sha256sum >/dev/null 2>&1 && hash=sha256sum
tell "ready $(uname -m) $hash"

# A line with the size and the hash, then the content. What is cut or damaged never gets the name of the server.
read -r size sum || fail cut 0
head -c "$size" >"$partial" || fail unwritable
received=$(wc -c <"$partial")
[ "$received" -eq "$size" ] || fail cut "$received"
if [ -n "$hash" ]; then
  actual=$(sha256sum <"$partial")
  [ "${actual%% *}" = "$sum" ] || fail damaged
else
  # The client compares the content.
  tell content
  cat "$partial"
  read -r answer || fail cut "$received"
  [ "$answer" = accepted ] || fail damaged
fi
chmod 755 "$partial" || fail unwritable
"$partial" --version >/dev/null || fail unusable "$?"
mv "$partial" "$server" || fail unwritable
kill -USR1 "$waiting"
tell done
