locals {
  gpu = var.worker == "gpu"

  # Without a GPU, the measured machine: two cores, and 2.5 GB at 6144x3456. Four cores cost twice as much per second and
  # are less than twice as fast. With a GPU, the minimum that Cloud Run accepts with an L4. Files count as memory: a
  # segment has about 10 MB. The GPU worker's limit, 8192x4608, needs 4.2 GB. ingest rejects it where workers have less.
  workers = {
    cpu = { cpu = "2", memory = "4Gi", instances = 10, max_pixels = 6144 * 3456 }
    gpu = { cpu = "4", memory = "16Gi", instances = 3, max_pixels = 8192 * 4608 }
  }
  worker = local.workers[var.worker]

  # deploy.sh compares these two before it builds the images.
  worker_instances = coalesce(var.worker_max_instances, local.worker.instances)
  gpu_quota        = var.gpu_zonal_redundancy ? "NvidiaL4GpuAllocPerProjectRegion" : "NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion"

  # USD per billed second in us-central1, for the dashboard. CAPACITY.md lists the prices.
  worker_prices = { cpu = 0.000058, gpu = 0.0002907, gpu_with_redundancy = 0.0003949 }
  worker_price  = local.worker_prices[!local.gpu ? "cpu" : var.gpu_zonal_redundancy ? "gpu_with_redundancy" : "gpu"]
}
