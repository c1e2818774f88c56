#!/usr/bin/env bash
# Deploys De-facer into a Google Cloud project, or removes it: make deploy, make destroy. infra/README.md tells it in full.
# From the environment: PROJECT, REGION; WORKER (what it was, else gpu), TAG (what is here), CUDA (infra/Dockerfile's).
set -Eeuo pipefail
cd "$(dirname "$0")/.."

# infra/README.md, "A GPU: region and quota".
L4_REGIONS="us-central1 us-east4 europe-west1 europe-west4 asia-southeast1"

fail() {
    echo "$*" >&2
    exit 1
}

# Terraform and gcloud have said why; here is what is left of it, and what to do.
stopped() {
    echo "It stopped there (status $1). What was made until then stays, and does no harm: mend what it said and run the same" >&2
    echo "command again, it goes on from there. infra/README.md has what it may say, under \"Deploying\" and \"removing\"." >&2
}

need() {
    command -v "$1" > /dev/null || fail "$1 is not installed here: $2"
}

# The images' content decides their tag: the same files are not built twice.
content_tag() {
    find functions infra/Dockerfile infra/locks requirements-bootstrap.lock -type f ! -path '*/__pycache__/*' |
        LC_ALL=C sort | { echo "CUDA $CUDA"; while read -r file; do echo "$file $(git hash-object "$file")"; done; } |
        git hash-object --stdin | cut -c1-12
}

has_state() {
    gcloud storage buckets describe "gs://$state" --project "$PROJECT" > /dev/null 2>&1
}

start_terraform() {
    terraform -chdir=infra init -input=false -reconfigure -backend-config="bucket=$state"
}

apply() {
    terraform -chdir=infra apply "${variables[@]}" "$@"
}

is_built() {
    gcloud artifacts docker images describe "$registry/$1:$TAG" --project "$PROJECT" > /dev/null 2>&1
}

build() {
    local missing=()
    for stage in "${stages[@]}"; do
        is_built "$stage" || missing+=("$stage")
    done
    if [ "${#missing[@]}" -eq 0 ]; then
        echo "The images $TAG are there already."
        return
    fi
    [ -z "$given_tag" ] || fail "There is no image ${missing[0]}:$TAG in $registry: leave TAG out to build what is here."
    gcloud builds submit . --project "$PROJECT" --region "$REGION" --config infra/cloudbuild.yaml \
        --ignore-file infra/.gcloudignore --gcs-source-staging-dir "$(terraform -chdir=infra output -raw builds)" \
        --service-account "$(terraform -chdir=infra output -raw builder)" \
        --substitutions "_REGISTRY=$registry,_TAG=$TAG,_STAGES=${missing[*]},_CUDA=$CUDA"
}

deploy() {
    local stages=(base cpu) given_tag="${TAG:-}" first=no registry
    [ -n "$given_tag" ] || TAG="$(content_tag)"

    # Terraform asks the first two what else is switched on; the others' agents are made here, and get roles later.
    gcloud services enable cloudresourcemanager.googleapis.com serviceusage.googleapis.com pubsub.googleapis.com \
        artifactregistry.googleapis.com storage.googleapis.com --project "$PROJECT"
    for agent in pubsub artifactregistry; do
        gcloud beta services identity create --service "$agent.googleapis.com" --project "$PROJECT"
    done

    if ! has_state; then
        first=yes
        gcloud storage buckets create "gs://$state" --project "$PROJECT" --location "$REGION" \
            --uniform-bucket-level-access --public-access-prevention
        gcloud storage buckets update "gs://$state" --versioning
    fi
    start_terraform

    # What it was the last time, and the first time a GPU.
    [ -n "$WORKER" ] || WORKER="$(terraform -chdir=infra output -raw worker 2> /dev/null || true)"
    WORKER="${WORKER:-gpu}"
    if [ "$WORKER" = gpu ]; then
        stages+=(gpu)
        [[ " $L4_REGIONS " == *" $REGION "* ]] || echo "Not known to have L4 GPUs for Cloud Run: $REGION. Known: $L4_REGIONS. WORKER=cpu needs none." >&2
    fi
    variables+=(-var "tag=$TAG" -var "worker=$WORKER")

    echo "First what the images need: a registry, and an account that builds."
    apply -target=google_artifact_registry_repository_iam_member.builder -target=google_storage_bucket_iam_member.builder \
        -target=google_project_iam_member.builder
    if [ "$first" = yes ]; then
        echo "New permissions take a minute to be known everywhere."
        sleep "${PATIENCE_SECONDS:-60}"
    fi
    registry="$(terraform -chdir=infra output -raw registry)"
    build
    echo "Now everything else. Terraform shows what it will do, and asks."
    apply
}

destroy() {
    variables+=(-var "tag=none")
    has_state || fail "There is nothing to remove: gs://$state, where a deployment's state lies, is not there or not yours to see."
    start_terraform
    terraform -chdir=infra destroy "${variables[@]}"
}

case "${1:-}" in
    deploy | destroy) ;;
    *) fail "usage: PROJECT=my-project REGION=europe-west4 infra/deploy.sh deploy|destroy" ;;
esac
[ -n "${PROJECT:-}" ] && [ -n "${REGION:-}" ] || fail "Say where: make ${1:-deploy} PROJECT=my-project REGION=europe-west4"
[[ "$PROJECT" =~ ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ ]] || fail "PROJECT=$PROJECT: expected a project's id (not its name or number), such as my-project-123."
[[ ! "$REGION" =~ ^[a-z]+-[a-z]+[0-9]+-[a-z]$ ]] || fail "REGION=$REGION is a zone: expected a region, such as ${REGION%-*}."
WORKER="${WORKER:-}"
CUDA="${CUDA:-$(sed -n 's/^ARG CUDA=//p' infra/Dockerfile)}"
[ -z "$WORKER" ] || [ "$WORKER" = gpu ] || [ "$WORKER" = cpu ] || fail "WORKER=$WORKER: expected gpu or cpu."
[ -f "infra/locks/cuda$CUDA.lock" ] || fail "CUDA=$CUDA: there is no infra/locks/cuda$CUDA.lock; expected 12 or 13."
need gcloud "https://cloud.google.com/sdk/docs/install"
need git "it names the images by what is in them"
need terraform "https://developer.hashicorp.com/terraform/install"
state="$PROJECT-terraform"
variables=(-var "project=$PROJECT" -var "region=$REGION")

gcloud projects describe "$PROJECT" > /dev/null 2>&1 ||
    fail "There is no project $PROJECT that your login may see: gcloud auth login, and look at gcloud projects list."
gcloud auth application-default print-access-token > /dev/null 2>&1 ||
    fail "Terraform has no login of its own here: gcloud auth application-default login."

trap 'stopped $?' ERR
"$1"
