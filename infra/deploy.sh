#!/usr/bin/env bash
# Deploy De-facer into a Google Cloud project (make deploy) or remove it (make destroy). See infra/DEPLOYMENT.md.
# Environment: PROJECT and REGION; optional WORKER (default: the deployed one, at first cpu), TAG (default: a hash of
# the files), CUDA (default: the one in infra/Dockerfile), BUILD_REGION (default: Cloud Build's global pool).
set -Eeuo pipefail
cd "$(dirname "$0")/.."
. infra/gpu_check.sh

# The alert on a metric that this deployment creates (infra/alerts.tf).
METRIC_ALERT=google_monitoring_alert_policy.failed_jobs
METRIC_WAIT_SECONDS=600

fail() {
    echo "$*" >&2
    exit 1
}

# gcloud or Terraform has reported the cause.
report_stop() {
    echo "The command stopped with status $1. Everything that it created stays and does no harm. Fix the error above and run the same" >&2
    echo "command again; it continues from there. infra/DEPLOYMENT.md lists common errors." >&2
}

need() {
    command -v "$1" > /dev/null || fail "$1 is not installed. $2"
}

pause() {
    sleep "${PATIENCE_SECONDS:-$1}"
}

# The tag of the images is a hash of the files in them, so unchanged files are not built twice.
content_tag() {
    local files
    files="$(find functions infra/Dockerfile infra/locks requirements-bootstrap.lock -type f ! -path '*/__pycache__/*' | LC_ALL=C sort)"
    { echo "CUDA $CUDA"; paste -d ' ' <(echo "$files") <(git hash-object --stdin-paths <<< "$files"); } |
        git hash-object --stdin | cut -c1-12
}

# Bucket names are global. A state in someone else's bucket can name providers, and `terraform init` would run them with
# your login.
has_state() {
    local owner
    owner="$(gcloud storage buckets describe "gs://$state" --raw --format 'value(projectNumber)' 2> /dev/null)" || return 1
    [ "$owner" = "$number" ] || fail "gs://$state belongs to project number $owner, but $PROJECT has number $number." \
        "Terraform would run code from that bucket with your login. Use a project with another id."
}

create_state() {
    gcloud storage buckets create "gs://$state" --project "$PROJECT" --location "$REGION" \
        --uniform-bucket-level-access --public-access-prevention ||
        fail "gs://$state could not be created. If the name is taken, another project owns it: use a project with another id."
}

start_terraform() {
    terraform -chdir=infra init -input=false -reconfigure -backend-config="bucket=$state"
}

apply() {
    terraform -chdir=infra apply "${variables[@]}" "$@"
}

# `terraform output -raw` prints a warning instead of a value, with status 0, if the state has no outputs.
deployed_worker() {
    terraform -chdir=infra output -json | sed -n '/^  "worker": {/,/^  }/s/^    "value": "\(gpu\|cpu\)"$/\1/p'
}

is_built() {
    gcloud artifacts docker images describe "$registry/$1:$TAG" --project "$PROJECT" > /dev/null 2>&1
}

# Only `gcloud beta` shows a log that is in Cloud Logging.
build() {
    local missing=()
    for stage in "${stages[@]}"; do
        is_built "$stage" || missing+=("$stage")
    done
    if [ "${#missing[@]}" -eq 0 ]; then
        echo "The images with tag $TAG exist already."
        return
    fi
    [ -z "$given_tag" ] || fail "$registry has no image ${missing[0]}:$TAG. Leave TAG out to build the files in this folder."
    gcloud beta builds submit . --project "$PROJECT" --region "${BUILD_REGION:-global}" --config infra/cloudbuild.yaml \
        --ignore-file infra/.gcloudignore --gcs-source-staging-dir "$(terraform -chdir=infra output -raw builds)/source" \
        --service-account "$(terraform -chdir=infra output -raw builder)" \
        --substitutions "_REGISTRY=$registry,_TAG=$TAG,_STAGES=${missing[*]},_CUDA=$CUDA"
}

# Google refuses an alert with 404 until its new metric is known, which takes up to ten minutes. The person has approved
# the alert then, so only the last run asks again, if anything is left to do.
apply_everything() {
    local errors deadline=$((SECONDS + METRIC_WAIT_SECONDS)) retry=()
    errors="$(mktemp)"
    until { apply ${retry[@]+"${retry[@]}"} 2>&1 >&3 | tee "$errors" >&2; } 3>&1; do
        grep -q 'AlertPolicy.*Error 404' "$errors" && [ "$SECONDS" -lt "$deadline" ] || return 1
        echo "Google does not know the alert's new metric yet, which takes up to ten minutes. Trying again in 30 s." >&2
        pause 30
        retry=(-auto-approve "-target=$METRIC_ALERT")
    done
    [ "${#retry[@]}" -eq 0 ] || apply
}

deploy() {
    local stages=(base cpu) given_tag="${TAG:-}" is_first=no registry
    [ -n "$given_tag" ] || TAG="$(content_tag)"

    # Terraform needs the first two to see which services are on, and warn_about_gpu the third. Terraform grants roles to
    # the agents of the services below, so they must exist before.
    gcloud services enable cloudresourcemanager.googleapis.com serviceusage.googleapis.com cloudquotas.googleapis.com \
        pubsub.googleapis.com artifactregistry.googleapis.com iap.googleapis.com storage.googleapis.com --project "$PROJECT"
    for agent in pubsub artifactregistry iap; do
        gcloud beta services identity create --service "$agent.googleapis.com" --project "$PROJECT"
    done

    if ! has_state; then
        is_first=yes
        create_state
    fi
    # Each time, because an earlier run can have stopped after the creation.
    gcloud storage buckets update "gs://$state" --versioning
    start_terraform

    [ -n "$WORKER" ] || WORKER="$(deployed_worker)"
    WORKER="${WORKER:-cpu}"
    if [ "$WORKER" = gpu ]; then
        warn_about_gpu
        stages+=(gpu)
    fi
    variables+=(-var "tag=$TAG" -var "worker=$WORKER")

    echo "First the registry for the images and the account that builds them."
    apply -target=google_artifact_registry_repository_iam_member.builder -target=google_storage_bucket_iam_member.builder \
        -target=google_project_iam_member.builder
    if [ "$is_first" = yes ]; then
        echo "New permissions take a minute to apply everywhere."
        pause 60
    fi
    registry="$(terraform -chdir=infra output -raw registry)"
    build
    echo "Now everything else. Terraform shows its plan and asks."
    apply_everything
}

destroy() {
    variables+=(-var "tag=none")
    has_state || fail "Found nothing to remove: the bucket of the deployment's state, gs://$state, does not exist, or you cannot read it."
    start_terraform
    terraform -chdir=infra destroy "${variables[@]}"
}

case "${1:-}" in
    deploy | destroy) ;;
    *) fail "usage: PROJECT=my-project REGION=europe-west1 infra/deploy.sh deploy|destroy" ;;
esac
[ -n "${PROJECT:-}" ] && [ -n "${REGION:-}" ] || fail "PROJECT or REGION is missing. Example: make ${1:-deploy} PROJECT=my-project REGION=europe-west1"
[[ "$PROJECT" =~ ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ ]] || fail "PROJECT=$PROJECT: expected a project's id (not its name or number), such as my-project-123."
for name in REGION BUILD_REGION; do
    value="${!name:-}"
    [[ ! "$value" =~ ^[a-z]+-[a-z]+[0-9]+-[a-z]$ ]] || fail "$name=$value is a zone: expected a region, such as ${value%-*}."
done
WORKER="${WORKER:-}"
CUDA="${CUDA:-$(sed -n 's/^ARG CUDA=//p' infra/Dockerfile)}"
[ -z "$WORKER" ] || [ "$WORKER" = cpu ] || [ "$WORKER" = gpu ] || fail "WORKER=$WORKER: expected cpu or gpu."
[ -f "infra/locks/cuda$CUDA.lock" ] || fail "CUDA=$CUDA: infra/locks/cuda$CUDA.lock does not exist. Expected 12 or 13."
need gcloud "https://cloud.google.com/sdk/docs/install"
need git "The names of the images are made with it."
need terraform "https://developer.hashicorp.com/terraform/install"
state="$PROJECT-terraform"
variables=(-var "project=$PROJECT" -var "region=$REGION")

number="$(gcloud projects describe "$PROJECT" --format 'value(projectNumber)' 2> /dev/null)" ||
    fail "Your login cannot see a project $PROJECT. Run gcloud auth login, and check the id with gcloud projects list."
gcloud auth application-default print-access-token > /dev/null 2>&1 ||
    fail "Terraform has no login of its own. Run gcloud auth application-default login."

trap 'report_stop $?' ERR
"$1"
