"""interp-lab 3.1.0's rows: its Python calls under its own names, its files as they are."""

from __future__ import annotations

from .rows import Peer, Row

API, ERGONOMICS, PIPELINE = "tests/test_public_api.py", "tests/test_api_ergonomics.py", "tests/test_pipeline.py"
TUNING, RIGOR, SAE, HF = (
    "tests/test_matching_tuning.py",
    "tests/test_rigor_fixes.py",
    "tests/test_sae_training.py",
    "tests/test_hf_records.py",
)
MOVED = "tests/test_interventions.py"
SIX = {"rtol": 0.0, "atol": 2e-6}
"""It rounds to six decimals."""

ROWS = (
    Row("ranking", "`inspect(model, criterion, backend=\"records\", records=)`", "the same with `ranking=\"interp-lab\"`, `held_out=0`", "same",
        "importance, association, specificity, causal effect, stability of each card", **SIX,
        tests=("tests/test_scoring.py::test_score_feature_prefers_activation_association_when_available", "tests/test_records_provider.py (2)",
               f"{PIPELINE}::test_inspection_report_contains_ranked_feature_cards", f"{RIGOR}::test_absent_strong_and_specificity_do_not_inflate_importance")),
    Row("ranking_order", "`report.cards`, in its order", "`.cards`", "same", "the order of eight features",
        tests=(f"{API}::test_inspect_api_returns_report",)),
    Row("ranking_caused", "… `interventions=`", "the same", "same", "the same five numbers with measured effects", **SIX,
        tests=(f"{MOVED}::test_intervention_runner_aggregates_causal_effects", f"{MOVED}::test_intervention_runner_tracks_control_records",
               f"{MOVED}::test_intervention_runner_filters_criterion_by_default")),
    Row("effects", "`card.causal_effects`", "`card[\"causal_effects\"]`", "same", "strong score, side effect, signed effect", **SIX,
        tests=(f"{RIGOR}::test_signed_effect_accessor_reports_provenance",)),
    Row("toy", "`inspect(\"toy/a\", …, backend=\"toy\")`", "the same", "differs",
        "another planted truth, told by the model's name: ours has records and interventions, so that evidence can be right or wrong",
        tests=(f"{API}::test_inspect_api_can_write_report", f"{PIPELINE}::test_toy_runner_measured_mode_adds_causal_evidence")),
    Row("tables", "`report.cards_table()`", "the same", "same", "rows and columns",
        tests=(f"{ERGONOMICS}::test_cards_table_is_stdlib_friendly",)),
    Row("matches_columns", "`matches_table()`", "the same", "same", "columns", tests=(f"{ERGONOMICS}::test_matches_table_is_stdlib_friendly",)),
    Row("matching", "`compare(left, right, top_k=10, out=)`", "the same (a run of kind match, `assignment = \"peer\"`)", "same",
        "the ten best pairs and their scores", **SIX,
        tests=(f"{API}::test_compare_api_accepts_reports_and_paths", f"{PIPELINE}::test_match_reports_returns_candidates",
               f"{PIPELINE}::test_match_ranking_penalizes_opposite_signed_effects", f"{RIGOR}::test_absent_causal_vector_is_excluded_not_scored_half",
               f"{RIGOR}::test_mismatched_causal_provenance_is_not_compared", f"{RIGOR}::test_matching_causal_compared_when_provenance_matches",
               f"{RIGOR}::test_absent_activation_signature_is_excluded_not_scored_half", f"{RIGOR}::test_mismatched_length_decoder_is_excluded",
               f"{RIGOR}::test_opposite_signed_effects_capped_at_shared_threshold",
               f"{RIGOR}::test_mixed_signed_effect_provenance_is_excluded_not_contradicted")),
    Row("matching_weights", "… `min_score=`, `weights=`", "the same", "same", "pairs and scores under other weights", **SIX,
        tests=(f"{TUNING}::test_min_score_filters_weak_matches", f"{TUNING}::test_weights_override_changes_score",
               f"{TUNING}::test_compare_api_accepts_min_score_and_weights")),
    Row("validated", "`validate_matches(matches.json)`", "reads what `compare(out=\"matches.json\")` wrote", "same", "pairs it graded",
        tests=(f"{API}::test_validate_matches_public_api_accepts_report_and_path",)),
    Row("codes", "`sae.json` (interp-lab.sae.v1)", "opens wherever an SAE does: `sae = \"sae.json\"`", "same",
        "codes under relu, top-k and jumprelu",
        tests=(f"{SAE}::test_encode_with_artifact_uses_relu_codes", f"{SAE}::test_encode_with_artifact_applies_topk_sparsity",
               f"{SAE}::test_encode_with_artifact_applies_jumprelu_sparsity", f"{SAE}::test_encode_with_artifact_rejects_shape_mismatch",
               f"{SAE}::test_encode_with_artifact_rejects_activation_dimension_mismatch")),
    Row("sae_written", "… read by it", "`train_sae(out=\"sae.json\")` writes one", "same", "codes that it gives with our file"),
    Row("fallback", "`train_sae(hf_model=, dataset=, pool=\"mean\", method=\"fallback\")` on twelve prompts", "the same", "same",
        "the mean, the dimensions it takes for latents, their bias, the layer", rtol=1e-4, atol=1e-5,
        tests=(f"{SAE}::test_train_sae_from_records_writes_artifact_and_activation_records",)),
    Row("steered", "… `criterion=`, `causal_out=`, `causal_top_k=`, `causal_strength_sweep=`, `target_tokens=`",
        "the same, with `layer_convention=\"hidden_state_index\"`; rows of random latents stand beside", "same",
        "which latents, their probabilities before and after at the strength kept, side effects", rtol=1e-3, atol=1e-6),
    Row("steered_units", "… no `target_tokens`", "the same; in a manifest `answers = [\"@units\"]`", "same",
        "the summed probability of twenty units of measurement", rtol=1e-3, atol=1e-7),
    Row("hidden", "`export_hf_activation_records(…, layers=[2])`", "kind `records`, `layers = [1]`", "same",
        "hidden dimensions at the last token: its L2 is `hidden_states[2]`, the output of block 1", rtol=1e-4, atol=1e-5,
        tests=(f"{HF}::test_load_prompt_records", f"{HF}::test_export_hf_activation_records_marks_layer_convention")),
    Row("ablated", "`export_hf_intervention_records(report_path=, …)`",
        "kind `interventions`, `report =`, `to = \"zero\"`, `metric = \"prob\"`, `answers`", "same",
        "probability of the answers before and after L2:D95 is set to 0 at every token, and on the other prompts", rtol=1e-4, atol=1e-6,
        tests=("tests/test_hf_hooks.py (3)", f"{HF}::test_target_token_ids_score_the_first_content_piece",
               f"{MOVED}::test_validate_hookable_feature_layers_rejects_layer_zero")),
    Row("ablated_last", "… a feature of its last layer", "the same", "differs",
        "it edits the final norm's output, we the block's, before the norm; a warning says so",
        tests=(f"{HF}::test_final_hidden_layer_interventions_hook_final_layer_norm",)),
)  # fmt: skip

OTHERS = (
    ("the rest of test_public_api, _api_ergonomics, _pipeline, _matching_tuning, _interventions, _rigor_fixes, _sae_training, _hf_records, _stats, "
     "_match_validation and _fingerprints", 103, "helpers of its own, its prompt builder, its trainers' settings, file writers and messages"),
    ("tests/test_cli.py, test_cli_errors.py, test_capabilities.py, test_contracts.py, test_agent_actions_runnable.py", 91,
     "its command line and its self-description: ours are `interp-tui --help` and `interp-tui schema`"),
    ("tests/test_mcp_server.py", 28, "`interp-tui mcp` serves the runs instead: list, show, result, follow, compare, kinds, schema, validate"),
    ("tests/test_web_app.py, test_reporting.py, test_explanation_reports.py", 44, "its web pages and HTML reports: `interp-tui export --to html`, `report`"),
    ("tests/test_calibration.py, test_evidence_planner.py, test_evidence_invariants.py, test_dossier.py", 72,
     "grades of evidence: every effect stands beside controls with an interval and q, `clear` or not"),
    ("tests/test_quant_diff.py, test_run_diff.py, test_gguf_records.py", 38, "`interp-tui compare A B` of runs on the two models, GGUF among them"),
    ("tests/test_criterion_compile.py, test_criterion_scoring.py, test_text_embedding.py", 37, "criteria are scored by `rule`, a judge or the file"),
    ("tests/test_graphs.py, test_graph_validation.py, test_hf_sae_paths.py, test_hf_sae_validation.py", 21,
     "kind `attribution_graph`: edges from gradients, the strongest checked by taking their source away"),
    ("tests/test_steering.py, test_demo_sweep.py, test_env_profile.py, test_release_check.py, test_migrate_report.py, test_modal_workflows.py", 39,
     "kinds `contrast`, `steer`, `steer_text`; `interp-tui demo`, `plan`, `doctor`; executors"),
    ("tests/test_saelens_adapter.py, test_neuronpedia_adapter.py, test_ecosystem_integrations.py, test_adapter_evidence_integrity.py", 24,
     "backends `saelens`, `scope`, `neuronpedia`, `goodfire` of kind inspect, whose tests run against a local server"),
)  # fmt: skip

PEER = Peer("interp-lab", "3.1.0", ("interp-lab==3.1.0", "transformers==5.24.0"), ROWS, OTHERS)
