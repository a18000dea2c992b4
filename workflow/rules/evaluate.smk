"""Every network's gates and scores, and the recovery of parameters."""


rule evaluate_network:
    input:
        onnx=f"{NETWORK_DIR}/{network_folder.ONNX}",
        history=f"{NETWORK_DIR}/{network_folder.HISTORY}",
        config=f"{NETWORK_DIR}/{network_folder.CONFIG}",
        card=f"{NETWORK_DIR}/{network_folder.CARD}",
        record=f"{NETWORK_DIR}/{network_folder.RECORD}",
        models_file=models_file_of,
    output:
        evaluation=f"{NETWORK_DIR}/{network_folder.EVALUATION}",
        scores=f"{NETWORK_DIR}/{network_folder.SCORES}",
    log:
        f"{RESULTS}/logs/evaluate_network/{{network_type}}_{{model}}_{{network}}_{{backend}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate_network/{{network_type}}_{{model}}_{{network}}_{{backend}}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        settings={"options": evaluation_options(), "seed": STUDY.seed},
        folder=lambda w, output: os.path.dirname(output.evaluation),
        models_file=models_file_options,
        options=given(lambda w: evaluation_options()),
        seed=given(lambda w: STUDY.seed),
    shell:
        "lanflow evaluate {params.folder:q} --output {output.evaluation:q} --seed {params.seed}"
        " {params.options:q} {params.models_file:q} --exit-zero --json > {log:q} 2>&1"


# Only of likelihood networks, and where the study says `recover_parameters: true`.
rule recover_parameters:
    input:
        onnx=f"{NETWORK_DIR}/{network_folder.ONNX}",
        card=f"{NETWORK_DIR}/{network_folder.CARD}",
        models_file=models_file_of,
    output:
        record=f"{NETWORK_DIR}/{network_folder.RECOVERY}",
        plot=shown_figure(network_folder.RECOVERY_PLOT, "recovery"),
    log:
        f"{RESULTS}/logs/recover_parameters/{{network_type}}_{{model}}_{{network}}_{{backend}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/recover_parameters/{{network_type}}_{{model}}_{{network}}_{{backend}}.tsv"
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        # Each process of HSSM takes one and a half.
        mem_mb=6000,
        runtime=120,
    params:
        settings={"options": recovery_options(), "seed": STUDY.seed},
        folder=lambda w, input: os.path.dirname(input.card),
        models_file=models_file_options,
        options=given(lambda w: recovery_options()),
        seed=given(lambda w: STUDY.seed),
    shell:
        "lanflow recover {params.folder:q} {params.options:q} --seed {params.seed}"
        " {params.models_file:q} --processes {threads} --output {output.record:q}"
        " --plot {output.plot:q} --json > {log:q} 2>&1"


# Only where the study says `require_gates: true`.
rule check_gates:
    input:
        evaluations=network_files(network_folder.EVALUATION),
        # A study that stops here has a report that says why.
        report=REPORT,
    output:
        record=GATES,
    log:
        f"{RESULTS}/logs/check_gates.log",
    benchmark:
        f"{RESULTS}/benchmarks/check_gates.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    shell:
        "lanflow check-gates {input.evaluations:q} --output {output.record:q} --json > {log:q} 2>&1"
