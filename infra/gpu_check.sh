# shellcheck shell=bash
# Part of infra/deploy.sh: check region and quota of the GPU workers before half an hour of building.

# infra/DEPLOYMENT.md, "A GPU: region and quota".
L4_REGIONS="us-central1 us-east4 europe-west1 europe-west4 asia-southeast1"

# Print the region's limit of a Cloud Run quota. Google leaves out a limit of 0; -1 means no limit.
gpu_limit() {
    gcloud beta quotas info describe "$1" --service run.googleapis.com --project "$PROJECT" --flatten 'dimensionsInfos[]' \
        --format 'value[separator="|"](dimensionsInfos.details.value,dimensionsInfos.applicableLocations.list(separator=" "))' |
        awk -F'|' -v region=" $REGION " 'index(" " $2 " ", region) { limit = $1 } END { print limit + 0 }'
}

minute_cost() {
    awk -F' *[|] *' -v worker="$1" '$2 == "1080p" && index($3, worker) == 1 { print $7; exit }' infra/CAPACITY.md
}

# Warn if the region has no GPUs or not enough quota, because Google would refuse the service only after the images are
# built. The deployment continues: the list of regions can be out of date, and some projects get a quota of 3 with their
# first GPU service.
warn_about_gpu() {
    local needed quota instances limit=unknown problem=""
    needed="$(terraform -chdir=infra console "${variables[@]}" -var tag=none -var worker=gpu \
        <<< '"${local.gpu_quota} ${local.worker_instances}"' | tr -d '"')"
    read -r quota instances <<< "$needed"
    for _ in 1 2 3 4 5 6; do
        limit="$(gpu_limit "$quota")" && break
        limit=unknown
        echo "Could not read the GPU quota. A service that was just enabled takes a minute to answer." >&2
        pause 10
    done
    [[ " $L4_REGIONS " == *" $REGION "* ]] || problem="Cloud Run has no L4 GPUs in $REGION as far as known. It has them in: $L4_REGIONS. "
    if [ "$limit" != unknown ] && [ "$limit" -ge 0 ] && [ "$limit" -lt "$instances" ]; then
        problem+="The quota $quota of $PROJECT in $REGION is $limit, but up to $instances GPU workers run at a time."
    fi
    [ -n "$problem" ] || return 0
    cat >&2 << EOF
$problem
You can:
- deploy CPU workers, which need no GPU (WORKER=cpu). A minute of 1080p video costs $(minute_cost CPU) on them by measured speed, and
  $(minute_cost L4) on an L4 by assumed speed (infra/CAPACITY.md).
- ask for more quota, or set worker_max_instances in infra/terraform.tfvars: see "A GPU: region and quota" in infra/DEPLOYMENT.md.
- continue with GPU workers. Google grants some projects a quota of 3 when they create their first GPU service.
EOF
}
