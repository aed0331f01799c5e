import pytest

from opensora.bench.train import shares
from opensora.bench.train.shares import Shares, kind_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nvjet_tst_128x256_64x4_2x1_v_bz_TNN", "products"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_bf16>", "products"),
        ("aten::addmm", "products"),
        ("aten::mm", "products"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16", "attention"),
        ("void pytorch_flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel", "attention"),
        ("fmha_cutlassB_bf16_aligned_64x64_k96_sm80", "attention"),
        ("forward_kernel", "attention"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("triton_red_fused_native_layer_norm_3", "elementwise"),
        ("modulate_backward", "elementwise"),
        (
            "void at::native::vectorized_elementwise_kernel<4, at::native::AddFunctor>",
            "elementwise",
        ),
        ("Memcpy DtoD (Device -> Device)", "elementwise"),
    ],
)
def test_kernels_are_told_by_their_names(name, kind):
    assert kind_of(name) == kind


def test_gaps_are_idle_and_overlaps_count_once():
    kernels = [("add", 60.0, 80.0), ("gemm", 0.0, 40.0), ("flash_fwd", 30.0, 50.0)]
    found = shares._of_kernels(kernels)
    assert found == Shares(
        products=pytest.approx(0.5),
        attention=pytest.approx(0.125),
        elementwise=pytest.approx(0.25),
        idle=pytest.approx(0.125),
    )
    assert shares._of_kernels([]) == Shares(0.0, 0.0, 0.0, 1.0)
