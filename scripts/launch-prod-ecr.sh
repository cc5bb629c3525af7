#!/usr/bin/env bash
# Launches one EC2 instance that pulls the image from ECR and serves: no cluster, no AMI of our own to build.
set -euo pipefail

readonly PROGRAM=${0##*/}
readonly AMI_PARAMETER=/aws/service/ecs/optimized-ami/amazon-linux-2023/gpu/recommended/image_id
readonly USER_ID=10001 # of the image: the journal's folder is given to it

usage() {
  cat <<EOF
Usage: $PROGRAM --image IMAGE --bucket BUCKET --subnet SUBNET --security-group GROUP --instance-profile PROFILE [OPTION ...]

Launches an EC2 instance with a GPU that pulls IMAGE from ECR and serves it on port 8000: the audit proxy, which launches
vLLM behind itself. The journal lies on an encrypted volume of its own that outlives the instance.

  --image IMAGE             ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY, with :TAG or @sha256:DIGEST.
                            A tag is resolved to its digest first: what is logged is what runs
  --bucket BUCKET           the audit bucket (AUDIT_BUCKET)
  --subnet SUBNET           a private subnet with a way to ECR, S3 and SSM
  --security-group GROUP    lets callers (API Gateway's VPC link) reach port 8000, and nobody else
  --instance-profile NAME   role with ecs-task-audit-writer.json, pull rights in ECR, and AmazonSSMManagedInstanceCore

  --prefix PREFIX           what every object's key begins with (default: logs)
  --model MODEL             folder in the image, or a name on the hub (default: the image's, /models/mistral8b)
  --vllm-args ARGS          further options of vllm serve, as one word
  --gateway-secret ARN      secret in Secrets Manager that API Gateway proves itself with
  --log-group GROUP         log to CloudWatch, with the node's health as metrics (default: the instance's journal)
  --service NAME            this deployment's name in metrics and tags (default: llm-audit)
  --instance-type TYPE      default: g5.xlarge
  --ami AMI                 default: Amazon's own ECS image for GPUs, as it is today
  --journal-size GIB        default: 50
  --journal-volume VOLUME   the volume of an instance that is gone, with what it had not shipped; instead of a new one
  --root-size GIB           holds the image, twice while it is unpacked (default: 200)
  --key-name NAME           SSH key; without one there is the SSM session alone
  --dry-run                 print the commands and the instance's start script; call nothing
  --help                    print this

Example:
  $PROGRAM --image 123456789012.dkr.ecr.eu-central-1.amazonaws.com/mistral8b-vllm:0.1.0-0123456789ab \\
    --bucket central-llm-audit --subnet subnet-0a1b2c3d --security-group sg-0a1b2c3d --instance-profile llm-audit-node
EOF
}

refuse() {
  printf '%s: %s\n' "$PROGRAM" "$1" >&2
  exit 2
}

# Refuses a value that does not look as it should: every one of them ends up in a command, or in a script run by root.
check() { # option, value, pattern, what is expected
  [[ -n $2 ]] || refuse "$1 is missing; expected $4"
  [[ $2 =~ ^($3)$ ]] || refuse "$1 is '$2'; expected $4"
}

image='' bucket='' subnet='' security_group='' instance_profile='' prefix=logs model='' vllm_args='' gateway_secret=''
log_group='' service=llm-audit instance_type=g5.xlarge ami='' journal_size=50 journal_volume='' root_size=200 key_name='' dry_run=''

while (($#)); do
  case $1 in
    --help) usage; exit 0 ;;
    --dry-run) dry_run=yes; shift; continue ;;
    --image | --bucket | --subnet | --security-group | --instance-profile | --prefix | --model | --vllm-args | \
      --gateway-secret | --log-group | --service | --instance-type | --ami | --journal-size | --journal-volume | --root-size | --key-name) ;;
    *) refuse "got '$1', which is no option; see $PROGRAM --help" ;;
  esac
  (($# > 1)) || refuse "$1 needs a value; see $PROGRAM --help"
  name=${1#--}
  printf -v "${name//-/_}" '%s' "$2"
  shift 2
done

check --image "$image" '[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/[a-z0-9][a-z0-9._/-]*(:[A-Za-z0-9_][A-Za-z0-9._-]*|@sha256:[0-9a-f]{64})' \
  'an image in ECR with tag or digest, such as 123456789012.dkr.ecr.eu-central-1.amazonaws.com/mistral8b-vllm:TAG'
check --bucket "$bucket" '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]' "a bucket's name, such as central-llm-audit"
check --subnet "$subnet" 'subnet-[0-9a-f]{8,17}' "a subnet's id, such as subnet-0a1b2c3d"
check --security-group "$security_group" 'sg-[0-9a-f]{8,17}' "a security group's id, such as sg-0a1b2c3d"
check --instance-profile "$instance_profile" '[A-Za-z0-9+=,.@_-]{1,128}' "an instance profile's name"
check --prefix "$prefix" '[A-Za-z0-9!_.*()=-]+(/[A-Za-z0-9!_.*()=-]+)*' 'words joined by slashes, such as logs'
check --service "$service" '[A-Za-z0-9._/-]{1,128}' 'letters, digits and ._/-'
check --instance-type "$instance_type" '[a-z0-9-]+\.[a-z0-9]+' 'an instance type, such as g5.xlarge'
check --journal-size "$journal_size" '[1-9][0-9]{0,4}' 'GiB as a whole number'
check --root-size "$root_size" '[1-9][0-9]{0,4}' 'GiB as a whole number'
[[ -z $model ]] || check --model "$model" '[A-Za-z0-9/_.-]+' 'a folder or a name on the hub'
[[ -z $ami ]] || check --ami "$ami" 'ami-[0-9a-f]{8,17}' "an image's id, such as ami-0a1b2c3d"
[[ -z $journal_volume ]] || check --journal-volume "$journal_volume" 'vol-[0-9a-f]{8,17}' "a volume's id, such as vol-0a1b2c3d"
[[ -z $key_name ]] || check --key-name "$key_name" '[A-Za-z0-9 ._-]{1,255}' "a key pair's name"
[[ -z $log_group ]] || check --log-group "$log_group" '[A-Za-z0-9._/#-]{1,512}' "a log group's name"
[[ -z $gateway_secret ]] || check --gateway-secret "$gateway_secret" \
  'arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+' "a secret's ARN"
[[ $vllm_args != *$'\n'* ]] || refuse "--vllm-args has more than one line; expected one"

registry=${image%%/*}
region=${registry#*.dkr.ecr.}
region=${region%%.*}
repository=${image#*/}
repository=${repository%%[:@]*}

aws_cli() {
  aws --region "$region" "$@"
}

shown() {
  printf '%q ' aws --region "$region" "$@"
  printf '\n'
}

# --- the image, by digest ------------------------------------------------------------------------------------------------

if [[ $image != *@* ]]; then
  tag=${image##*:}
  resolve=(ecr describe-images --repository-name "$repository" --image-ids "imageTag=$tag"
    --query 'imageDetails[0].imageDigest' --output text)
  if [[ $dry_run ]]; then
    shown "${resolve[@]}"
    image=$registry/$repository@DIGEST
  else
    digest=$(aws_cli "${resolve[@]}")
    [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || refuse "ECR has no image $repository:$tag in $region"
    image=$registry/$repository@$digest
  fi
fi

# --- what the instance does at its first start ------------------------------------------------------------------------------

# For docker's --env-file, which takes every line as it is, to its end.
environment() {
  printf '%s\n' "AUDIT_BUCKET=$bucket" "AUDIT_PREFIX=$prefix" "AUDIT_SERVICE=$service" "AWS_REGION=$region"
  [[ -z $model ]] || printf '%s\n' "MODEL=$model"
  [[ -z $vllm_args ]] || printf '%s\n' "VLLM_ARGS=$vllm_args"
  [[ -z $log_group ]] || printf '%s\n' AUDIT_CLOUDWATCH_METRICS=on
  [[ -z $gateway_secret ]] || printf '%s\n' AUDIT_GATEWAY_SECRET=@/run/secrets/gateway-secret
}

start_script() {
  local log=(--log-driver journald) secret=()
  [[ -z $log_group ]] || log=(--log-driver awslogs --log-opt "awslogs-group=$log_group" --log-opt "awslogs-region=$region")
  [[ -z $gateway_secret ]] || secret=(--volume /etc/llm-audit/gateway-secret:/run/secrets/gateway-secret:ro)
  cat <<EOF
#!/bin/bash
# Made by launch-prod-ecr.sh. Whatever fails here is in /var/log/cloud-init-output.log.
set -euxo pipefail

systemctl disable --now ecs || true # this instance is in no cluster
command -v aws || dnf install --assumeyes awscli-2

# The journal's volume: formatted if it is new, mounted at every start, and no Docker without it.
for _ in \$(seq 300); do [ -b /dev/sdj ] && break; sleep 1; done
blkid /dev/sdj || mkfs.xfs -L llm-audit /dev/sdj
mkdir -p /srv/llm-audit /etc/llm-audit
echo 'LABEL=llm-audit /srv/llm-audit xfs noatime,nofail,x-systemd.required-by=docker.service,x-systemd.before=docker.service 0 2' >>/etc/fstab
mount /srv/llm-audit
chown $USER_ID:$USER_ID /srv/llm-audit
chmod 0700 /srv/llm-audit

base64 --decode >/etc/llm-audit/environment <<'END'
$(environment | base64)
END
EOF
  if [[ $gateway_secret ]]; then
    cat <<EOF

# Read here, with the instance's role: what stands in this script can be read by everyone who may describe instances.
set +x
(umask 077; aws --region $region secretsmanager get-secret-value --secret-id '$gateway_secret' \\
  --query SecretString --output text >/etc/llm-audit/gateway-secret)
chown $USER_ID:$USER_ID /etc/llm-audit/gateway-secret
set -x
EOF
  fi
  cat <<EOF

aws --region $region ecr get-login-password | docker login --username AWS --password-stdin $registry
docker pull $image
docker logout $registry

# --stop-timeout is longer than the drain (120 s) and the shipping after it (30 s).
docker run --detach --name audit-proxy --restart unless-stopped --init --stop-timeout 180 \\
  --gpus all --shm-size 8g --cap-drop ALL --security-opt no-new-privileges \\
  --publish 8000:8000 --volume /srv/llm-audit:/var/lib/llm-audit${secret:+ ${secret[*]}} \\
  --env-file /etc/llm-audit/environment ${log[*]} \\
  $image
EOF
}

# --- the instance -------------------------------------------------------------------------------------------------------------

find_ami=(ssm get-parameter --name "$AMI_PARAMETER" --query Parameter.Value --output text)
if [[ -z $ami ]]; then
  if [[ $dry_run ]]; then
    shown "${find_ami[@]}"
    ami=AMI
  else
    ami=$(aws_cli "${find_ami[@]}")
    [[ $ami =~ ^ami-[0-9a-f]+$ ]] || refuse "SSM names no image in $region ($AMI_PARAMETER: '$ami'); give one with --ami"
  fi
fi

disk() { # device, GiB, whether it ends with the instance
  printf '{"DeviceName":"%s","Ebs":{"VolumeSize":%d,"VolumeType":"gp3","Encrypted":true,"DeleteOnTermination":%s}}' "$@"
}
disks=$(disk /dev/xvda "$root_size" true)
[[ $journal_volume ]] || disks+=,$(disk /dev/sdj "$journal_size" false)
tags="[{Key=Name,Value=$service},{Key=Application,Value=central-llm-audit}]"

# Two hops: the container asks the instance for its role's credentials, and is one hop further away.
run=(ec2 run-instances --image-id "$ami" --instance-type "$instance_type" --count 1
  --subnet-id "$subnet" --security-group-ids "$security_group" --iam-instance-profile "Name=$instance_profile"
  --metadata-options 'HttpTokens=required,HttpPutResponseHopLimit=2,HttpEndpoint=enabled'
  --block-device-mappings "[$disks]"
  --tag-specifications "ResourceType=instance,Tags=$tags" "ResourceType=volume,Tags=$tags"
  --disable-api-termination --instance-initiated-shutdown-behavior stop)
[[ -z $key_name ]] || run+=(--key-name "$key_name")

if [[ $dry_run ]]; then
  shown "${run[@]}" --user-data file://START-SCRIPT --query 'Instances[0].InstanceId' --output text
  [[ -z $journal_volume ]] || shown ec2 attach-volume --volume-id "$journal_volume" --instance-id INSTANCE --device /dev/sdj
  printf '\nSTART-SCRIPT:\n'
  start_script
  exit 0
fi

script=$(mktemp)
trap 'rm -f "$script"' EXIT
start_script >"$script"
instance=$(aws_cli "${run[@]}" --user-data "file://$script" --query 'Instances[0].InstanceId' --output text)
printf 'launched %s with %s\n' "$instance" "$image"
aws_cli ec2 wait instance-running --instance-ids "$instance"
if [[ $journal_volume ]]; then
  aws_cli ec2 attach-volume --volume-id "$journal_volume" --instance-id "$instance" --device /dev/sdj >/dev/null
fi
address=$(aws_cli ec2 describe-instances --instance-ids "$instance" \
  --query 'Reservations[0].Instances[0].PrivateIpAddress' --output text)
cat <<EOF
it runs at $address; the image is pulled and the model loaded now, which takes minutes
health:  curl http://$address:8000/health
shell:   aws --region $region ssm start-session --target $instance
EOF
