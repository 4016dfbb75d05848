"""Leave as soon as an exit is sure.

Begin with `policies`: when an answer is sure enough, and the executor that really stops computing there. `predictor`
keeps a cascade of networks in a folder, and answers for any video file.
"""
