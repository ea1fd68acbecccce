# Prints definitions.json with the users' names and passwords: bash write-definitions.bash DEFINITIONS >RESULT
#
# A placeholder @NAME@ becomes the value of the variable NAME, or the content of the file that NAME_FILE names. One that
# has neither becomes empty: RabbitMQ refuses every login with an empty password.
set -o errexit -o nounset -o pipefail

value_of() { # NAME; as the content of a string in JSON
  local file=$1_FILE value=${!1:-}
  [[ -z ${!file:-} ]] || value=$(<"${!file}")
  value=${value//\\/\\\\}
  printf '%s' "${value//\"/\\\"}"
}

rest=$(<"$1")
while [[ $rest =~ @([A-Z_]+)@ ]]; do
  placeholder=${BASH_REMATCH[0]}
  printf '%s' "${rest%%"$placeholder"*}"
  value_of "${BASH_REMATCH[1]}"
  rest=${rest#*"$placeholder"}
done
printf '%s\n' "$rest"
