# Sourced by eng/run and eng/test: goes to the repository, and makes sure of .NET, PostgreSQL and Redis.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_GENERATE_ASPNET_CERTIFICATE=false DOTNET_ADD_GLOBAL_TOOLS_TO_PATH=false
export npm_config_update_notifier=false npm_config_audit=false npm_config_fund=false
if [ ! -w "${HOME:-/nowhere}" ]; then # a bare environment: dotnet and npm insist on a home
  HOME="${TMPDIR:-/tmp}/generation-home-$(id -u)"
  export HOME
  mkdir -p "$HOME"
fi

# Colours only where somebody looks.
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
  bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' dim=$'\e[2m' plain=$'\e[0m'
else
  bold='' red='' green='' dim='' plain=''
fi

say() { printf '%s\n' "$bold$*$plain"; }
die() { printf '%s\n' "$red$*$plain" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "This needs root, and there is no sudo. Run as root: $*"
  fi
}

# The folders in which Debian and Homebrew keep what they leave out of PATH; Generation.LocalServers looks there too.
have_postgres() {
  local folder
  for folder in ${PATH//:/ } /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin \
      /usr/pgsql-*/bin /Applications/Postgres.app/Contents/Versions/*/bin; do
    if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && [ -x "$folder/psql" ]; then return 0; fi
  done
  return 1
}

have_redis() { command -v redis-server >/dev/null || command -v valkey-server >/dev/null || [ -x /opt/homebrew/bin/redis-server ]; }

ensure_servers() {
  command -v dotnet >/dev/null || die "The .NET 10 SDK is missing: https://dotnet.microsoft.com/download/dotnet/10.0"
  local missing=()
  have_postgres || missing+=(postgresql)
  have_redis || missing+=(redis-server)
  [ ${#missing[@]} = 0 ] && return 0

  if [ "$(uname)" = Darwin ]; then
    die "Missing: ${missing[*]}. Install with: brew install postgresql@17 redis"
  elif command -v apt-get >/dev/null; then
    say "Installing ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  else
    die "Missing: ${missing[*]}. Install PostgreSQL (15 or newer) and Redis (6.2 or newer) with your package manager."
  fi
  have_postgres && have_redis || die "Installed ${missing[*]}, and still cannot find initdb or redis-server."
}
