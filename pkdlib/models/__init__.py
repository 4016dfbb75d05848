"""Networks that read compressed video, and the exits that make each of them able to stop early.

Begin with `backbones`: a backbone for each modality, and the multi-exit network around it. `exit_heads` are the
internal classifiers, `teamnet` is TEAM-Net, `lite` EfficientNet-Lite0, `registry` makes any of them by name.
`pretrained` reads published weights, `cost` counts multiply-accumulates.
"""
