# Prints definitions.json with the users' names and passwords: bash write-definitions.bash DEFINITIONS [FOLDER] >RESULT
#
# A placeholder @NAME@ becomes the content of FOLDER/NAME, the value of the variable NAME, or the content of the file
# that NAME_FILE names. One that has none becomes empty: RabbitMQ refuses every login with an empty password.
set -o errexit -o nounset -o pipefail

value_of() { # NAME; as the content of a string in JSON
  local file=$1_FILE value=${!1:-}
  [[ -z ${!file:-} ]] || value=$(<"${!file}")
  [[ ! -e $folder/$1 ]] || value=$(<"$folder/$1")
  value=${value//\\/\\\\}
  printf '%s' "${value//\"/\\\"}"
}

folder=${2:-/dev/null}
rest=$(<"$1")
while [[ $rest =~ @([A-Z_]+)@ ]]; do
  placeholder=${BASH_REMATCH[0]}
  printf '%s' "${rest%%"$placeholder"*}"
  value_of "${BASH_REMATCH[1]}"
  rest=${rest#*"$placeholder"}
done
printf '%s\n' "$rest"
