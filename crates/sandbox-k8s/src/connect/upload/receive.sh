# Receives the server on standard input, and passes it to the first process of the container.
# $1: the directory, $2: a name for this attempt alone.
directory=$1 partial=$1/.$2.partial
server=$directory/sandbox-sshd

tell() {
  echo "sandbox-upload: $*"
}
fail() {
  tell "$@"
  exit 1
}

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
if read -r waiting <"$directory/waiting"; then
  kill -USR1 "$waiting"
fi
tell done
