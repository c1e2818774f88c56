# Access to one channel: its folder in the intake bucket and in the output bucket. Conditions do not restrict listing, so
# these are managed folders. A folder's grants apply to all objects below it, and to listing below it.
# https://cloud.google.com/storage/docs/managed-folders
locals {
  owners = distinct(flatten([for channel in var.channels : channel.owners]))

  channel_folders = merge({}, [
    for name in keys(var.channels) : {
      "${name}/intake" = { bucket = "intake", path = "channels/${name}/" }
      "${name}/videos" = { bucket = "intake", path = "channels/${name}/videos/" }
      "${name}/output" = { bucket = "output", path = "channels/${name}/" }
    }
  ]...)

  # The role that each kind of member has in each folder. objectCreator cannot read, list, delete or overwrite.
  channel_roles = {
    owners    = { intake = "roles/storage.objectUser", output = "roles/storage.objectViewer" }
    uploaders = { videos = "roles/storage.objectCreator" }
    viewers   = { output = "roles/storage.objectViewer" }
  }

  channel_grants = merge({}, flatten([
    for name, channel in var.channels : [
      for kind, roles in local.channel_roles : [
        for folder, role in roles : {
          for member in distinct(channel[kind]) : "${name}/${kind}/${folder}/${member}" => { folder = "${name}/${folder}", role = role, member = member }
        }
      ]
    ]
  ])...)
}

resource "google_storage_managed_folder" "channel" {
  for_each      = local.channel_folders
  bucket        = local.bucket_names[each.value.bucket]
  name          = each.value.path
  force_destroy = true # deletes the folder's grants, and no object
}

resource "google_storage_managed_folder_iam_member" "channel" {
  for_each       = local.channel_grants
  bucket         = google_storage_managed_folder.channel[each.value.folder].bucket
  managed_folder = google_storage_managed_folder.channel[each.value.folder].name
  role           = each.value.role
  member         = each.value.member
}
