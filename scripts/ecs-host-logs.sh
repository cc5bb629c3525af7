#!/usr/bin/env bash
# Shows what the ECS agent on the cluster's host says: over SSH, or through an SSM session.
set -euo pipefail

readonly PROGRAM=${0##*/}

usage() {
  cat <<EOF
Usage: $PROGRAM (--cluster CLUSTER | --instance INSTANCE | --host HOST) [OPTION ...]

Follows /var/log/ecs/ecs-agent.log on an ECS host: by SSH, or with --ssm through Session Manager, which needs neither an
open port nor a key.

  --cluster CLUSTER     the cluster whose host it is; where it has several, they are listed and one is to be chosen
  --instance INSTANCE   the host's EC2 instance id
  --host HOST           the host's name or address (SSH only; asks AWS nothing)
  --ssm                 go through an SSM session (needs the session-manager-plugin of the AWS command line)
  --public              SSH to the instance's public address (default: the private one)
  --user USER           SSH user (default: ec2-user)
  --key FILE            SSH private key
  --file FILE           another log below /var/log (default: /var/log/ecs/ecs-agent.log)
  --lines N             how many lines to begin with (default: 100)
  --no-follow           print these lines and end
  --region REGION       default: eu-central-1
  --dry-run             print the commands; call nothing
  --help                print this

Examples:
  $PROGRAM --cluster llm-audit --ssm
  $PROGRAM --instance i-0123456789abcdef0 --key ~/.ssh/prod.pem --lines 500 --no-follow
EOF
}

refuse() {
  printf '%s: %s\n' "$PROGRAM" "$1" >&2
  exit 2
}

check() { # option, value, pattern, what is expected
  [[ $2 =~ ^($3)$ ]] || refuse "$1 is '$2'; expected $4"
}

cluster='' instance='' host='' ssm='' address_kind=PrivateIpAddress user=ec2-user key='' file=/var/log/ecs/ecs-agent.log
lines=100 follow=-F region=eu-central-1 dry_run=''

while (($#)); do
  case $1 in
    --help) usage; exit 0 ;;
    --ssm) ssm=yes; shift; continue ;;
    --public) address_kind=PublicIpAddress; shift; continue ;;
    --no-follow) follow=''; shift; continue ;;
    --dry-run) dry_run=yes; shift; continue ;;
    --cluster | --instance | --host | --user | --key | --file | --lines | --region) ;;
    *) refuse "got '$1', which is no option; see $PROGRAM --help" ;;
  esac
  (($# > 1)) || refuse "$1 needs a value; see $PROGRAM --help"
  printf -v "${1#--}" '%s' "$2"
  shift 2
done

given=0
[[ -z $cluster ]] || { given=$((given + 1)); check --cluster "$cluster" '[A-Za-z0-9_-]{1,255}' "a cluster's name"; }
[[ -z $instance ]] || { given=$((given + 1)); check --instance "$instance" 'i-[0-9a-f]{8,17}' "an instance's id, such as i-0123456789abcdef0"; }
[[ -z $host ]] || { given=$((given + 1)); check --host "$host" '[A-Za-z0-9][A-Za-z0-9.:-]*' "a host's name or address"; }
((given == 1)) || refuse "expected one of --cluster, --instance and --host; see $PROGRAM --help"
[[ -z $ssm || -z $host ]] || refuse "--ssm needs --cluster or --instance: a session is opened by instance id"
check --user "$user" '[a-z_][a-z0-9_-]*' 'a user such as ec2-user'
check --lines "$lines" '[0-9]{1,6}' 'a whole number'
check --region "$region" '[a-z0-9-]{2,32}' 'a region such as eu-central-1'
check --file "$file" '/var/log/[A-Za-z0-9._/-]+' 'a file below /var/log'
[[ $file != */../* ]] || refuse "--file is '$file'; expected a file below /var/log"
[[ -z $key || -f $key ]] || refuse "--key is '$key', which is no file"

aws_cli() {
  aws --region "$region" "$@"
}

shown() {
  printf '%q ' "$@"
  printf '\n'
}

# Runs a command whose output is one answer; a dry run prints it and answers what stands in for it.
ask() { # stand-in, command...
  local stand_in=$1
  shift
  if [[ $dry_run ]]; then
    shown aws --region "$region" "$@" >&2
    printf '%s\n' "$stand_in"
  else
    aws_cli "$@"
  fi
}

if [[ $cluster ]]; then
  arns=$(ask CONTAINER-INSTANCE ecs list-container-instances --cluster "$cluster" --query containerInstanceArns --output text)
  [[ -n $arns && $arns != None ]] || refuse "the cluster $cluster has no host in $region"
  # shellcheck disable=SC2086 # several words are meant: one for each host
  instance=$(ask INSTANCE ecs describe-container-instances --cluster "$cluster" --container-instances $arns \
    --query 'containerInstances[].ec2InstanceId' --output text)
  [[ $instance != *[[:space:]]* ]] || refuse "the cluster $cluster has several hosts; choose one with --instance: ${instance//[[:space:]]/ }"
fi

tail_command="sudo tail -n $lines${follow:+ $follow} $file"
if [[ $ssm ]]; then
  command=(aws --region "$region" ssm start-session --target "$instance" --document-name AWS-StartInteractiveCommand
    --parameters "{\"command\":[\"$tail_command\"]}")
else
  if [[ -z $host ]]; then
    host=$(ask ADDRESS ec2 describe-instances --instance-ids "$instance" \
      --query "Reservations[0].Instances[0].$address_kind" --output text)
    [[ -n $host && $host != None ]] || refuse "the instance $instance has no $address_kind; try --ssm"
  fi
  # Host keys are checked as this user's SSH is set up: nothing here turns that off.
  command=(ssh -o ConnectTimeout=10 -o ServerAliveInterval=15)
  [[ -z $key ]] || command+=(-i "$key" -o IdentitiesOnly=yes)
  command+=("$user@$host" "$tail_command")
fi

if [[ $dry_run ]]; then
  shown "${command[@]}"
  exit 0
fi
exec "${command[@]}"
