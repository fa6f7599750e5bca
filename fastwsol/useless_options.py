"""Options of a run that change nothing beside the others."""

from fastwsol.config import PREACT_RESNET, Setting


def why_no_features(setting: Setting) -> str:
    """Why a run keeps no features, for messages; empty if it keeps some, of a frozen backbone or for the mask head."""
    if setting.localizer.trains_mask:
        return ""
    if setting.network.train_part == "all":
        return "all of the network is trained"
    return "images grow" if setting.schedule.has_own_sizes else ""


def without_use(setting: Setting) -> dict[str, str]:
    """The options that change nothing in a setting, each with the reason and a remedy, in words."""
    network, why = setting.network, {}
    if not setting.views.crops:
        why["crops_per_image"] = f"--aug {setting.views.aug} crops nothing; use --aug gr"
    if setting.views.mix == "none":
        why["mix_share"] = "--mix none mixes nothing; use --mix cutmix"
    if setting.schedule.schedule != "step":
        why["lr_step_epochs"] = f"--schedule {setting.schedule.schedule} has no such drops; use --schedule step"
    if network.is_ours:
        why["output_stride"] = f"--backbone {network.backbone} has its --stem for that; use another --stem"
    else:
        why["depth"] = why["stem"] = f"is of --backbone {PREACT_RESNET}; use that"
    if network.train_part == "classifier":
        why["backbone_lr_mult"] = "--train-part classifier trains no other layer; use --train-part all"
    elif network.train_part == "tail" and network.is_ours:
        why["backbone_lr_mult"] = "--train-part tail trains no layer that it is of; use --train-part all"
    if not setting.localizer.trains_mask:
        for name in ("head_steps", "head_batch_size", "head_lr"):
            why[name] = f"--localizer {setting.localizer.localizer} trains no mask head; use --localizer mask"
    return why
