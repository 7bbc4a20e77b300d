// Every value of every preset, so that none changes unseen.
#include "crescendo/train/options.h"

#include <gtest/gtest.h>

namespace crescendo {
namespace {

void expect_preset(const std::string& name, const char* values) {
  EXPECT_EQ(value_to_json(train_preset(name)).dump(2), Json::parse(values).dump(2));
}

TEST(TrainPreset, Paper) {
  expect_preset("paper", R"({
  "model": {"order": "far", "conditioning": "class", "width": 768, "encoder_blocks": 12, "decoder_blocks": 12, "heads": 12,
            "head_dim": 0, "mlp_ratio": 4, "diffusion_width": 1024, "diffusion_blocks": 6,
            "latent_channels": 16, "latent_height": 16, "latent_width": 16, "patch": 1, "levels": 16,
            "filter": "spatial", "buffer_size": 64, "classes": 1000, "text_hidden": 0, "text_length": 0,
            "masked": true, "visible_level": 0, "predicts": "clean",
            "scales": [], "residual": false, "scale_std": [], "markov": false},
  "objective": {"target": "clean", "level_draw": "image", "level_power": 1.0, "mask": "uniform",
                "mask_min_low": 0.7, "mask_min_high": 0.0, "visible_level": 0, "level_weight": true,
                "loss_over": "all", "posterior_std": 1.0, "input_noise": 0.0, "diffusion_batch_mul": 4,
                "timestep_power": 1.0, "terminal_share": 0.0, "terminal_weight": 1.0, "vb_weight": 1.0,
                "label_dropout": 0.1, "attention_dropout": 0.1, "projection_dropout": 0.1,
                "loss_weight": "token", "scale_norm": false, "self_correct": 0.0},
  "train": {"images": 512466800, "batch": 1024, "micro_batch": 0, "lr": 0.0004,
            "lr_schedule": {"shape": "constant", "warmup_images": 128116700, "end": 0.0},
            "adamw": {"beta1": 0.9, "beta2": 0.95, "eps": 1e-08, "weight_decay": 0.02}, "grad_clip": 3.0,
            "ema": 0.9999, "ema_warmup": false, "precision": "fp32", "seed": 0, "log_images": 10000,
            "sample_images": 200000, "evaluate_images": 0, "evaluate_pictures": 800, "evaluate_with": "",
            "save_minutes": 10.0, "max_bad_steps": 10},
  "sampler": {},
  "flip": true
})");
}

TEST(TrainPreset, Published) {
  expect_preset("published", R"({
  "model": {"order": "far", "conditioning": "class", "width": 768, "encoder_blocks": 12, "decoder_blocks": 12, "heads": 12,
            "head_dim": 0, "mlp_ratio": 4, "diffusion_width": 1024, "diffusion_blocks": 6,
            "latent_channels": 16, "latent_height": 16, "latent_width": 16, "patch": 1, "levels": 16,
            "filter": "spatial", "buffer_size": 64, "classes": 1000, "text_hidden": 0, "text_length": 0,
            "masked": true, "visible_level": 0, "predicts": "clean",
            "scales": [], "residual": false, "scale_std": [], "markov": false},
  "objective": {"target": "clean", "level_draw": "batch", "level_power": 1.0, "mask": "truncated-normal",
                "mask_min_low": 0.0, "mask_min_high": 0.65625, "visible_level": 0, "level_weight": false,
                "loss_over": "all", "posterior_std": 1.0, "input_noise": 0.0, "diffusion_batch_mul": 4,
                "timestep_power": 1.0, "terminal_share": 0.0, "terminal_weight": 1.0, "vb_weight": 1.0,
                "label_dropout": 0.1, "attention_dropout": 0.1, "projection_dropout": 0.1,
                "loss_weight": "token", "scale_norm": false, "self_correct": 0.0},
  "train": {"images": 512466800, "batch": 1024, "micro_batch": 0, "lr": 0.0004,
            "lr_schedule": {"shape": "constant", "warmup_images": 128116700, "end": 0.0},
            "adamw": {"beta1": 0.9, "beta2": 0.95, "eps": 1e-08, "weight_decay": 0.02}, "grad_clip": 3.0,
            "ema": 0.9999, "ema_warmup": false, "precision": "fp32", "seed": 0, "log_images": 10000,
            "sample_images": 200000, "evaluate_images": 0, "evaluate_pictures": 800, "evaluate_with": "",
            "save_minutes": 10.0, "max_bad_steps": 10},
  "sampler": {"preset": "published-mask"},
  "flip": true
})");
}

TEST(TrainPreset, PaperT2i) {
  expect_preset("paper-t2i", R"({
  "model": {"order": "far", "conditioning": "text", "width": 1024, "encoder_blocks": 16, "decoder_blocks": 16, "heads": 16,
            "head_dim": 64, "mlp_ratio": 4, "diffusion_width": 1024, "diffusion_blocks": 3,
            "latent_channels": 16, "latent_height": 16, "latent_width": 16, "patch": 1, "levels": 16,
            "filter": "spatial", "buffer_size": 0, "classes": 0, "text_hidden": 1536, "text_length": 300,
            "masked": true, "visible_level": 0, "predicts": "clean",
            "scales": [], "residual": false, "scale_std": [], "markov": false},
  "objective": {"target": "clean", "level_draw": "image", "level_power": 1.0, "mask": "uniform",
                "mask_min_low": 0.7, "mask_min_high": 0.0, "visible_level": 0, "level_weight": true,
                "loss_over": "all", "posterior_std": 1.0, "input_noise": 0.0, "diffusion_batch_mul": 1,
                "timestep_power": 1.0, "terminal_share": 0.0, "terminal_weight": 1.0, "vb_weight": 1.0,
                "label_dropout": 0.1, "attention_dropout": 0.0, "projection_dropout": 0.0,
                "loss_weight": "token", "scale_norm": false, "self_correct": 0.0},
  "train": {"images": 776000000, "batch": 512, "micro_batch": 0, "lr": 0.0002,
            "lr_schedule": {"shape": "constant", "warmup_images": 194000000, "end": 0.0},
            "adamw": {"beta1": 0.9, "beta2": 0.95, "eps": 1e-08, "weight_decay": 0.02}, "grad_clip": 1.0,
            "ema": 0.99, "ema_warmup": false, "precision": "fp32", "seed": 0, "log_images": 10000,
            "sample_images": 200000, "evaluate_images": 0, "evaluate_pictures": 800, "evaluate_with": "",
            "save_minutes": 10.0, "max_bad_steps": 10},
  "sampler": {},
  "flip": false
})");
}

TEST(TrainPreset, PublishedT2i) {
  expect_preset("published-t2i", R"({
  "model": {"order": "far", "conditioning": "text", "width": 1024, "encoder_blocks": 16, "decoder_blocks": 16, "heads": 16,
            "head_dim": 64, "mlp_ratio": 4, "diffusion_width": 1024, "diffusion_blocks": 3,
            "latent_channels": 16, "latent_height": 16, "latent_width": 16, "patch": 1, "levels": 16,
            "filter": "spatial", "buffer_size": 0, "classes": 0, "text_hidden": 1536, "text_length": 300,
            "masked": true, "visible_level": 0, "predicts": "clean",
            "scales": [], "residual": false, "scale_std": [], "markov": false},
  "objective": {"target": "clean", "level_draw": "image", "level_power": 1.0, "mask": "truncated-normal",
                "mask_min_low": 0.7, "mask_min_high": 0.7, "visible_level": 0, "level_weight": false,
                "loss_over": "all", "posterior_std": 1.0, "input_noise": 0.0, "diffusion_batch_mul": 1,
                "timestep_power": 1.0, "terminal_share": 0.0, "terminal_weight": 1.0, "vb_weight": 1.0,
                "label_dropout": 0.1, "attention_dropout": 0.0, "projection_dropout": 0.0,
                "loss_weight": "token", "scale_norm": false, "self_correct": 0.0},
  "train": {"images": 776000000, "batch": 512, "micro_batch": 0, "lr": 0.0002,
            "lr_schedule": {"shape": "constant", "warmup_images": 194000000, "end": 0.0},
            "adamw": {"beta1": 0.9, "beta2": 0.95, "eps": 1e-08, "weight_decay": 0.02}, "grad_clip": 1.0,
            "ema": 0.999, "ema_warmup": false, "precision": "fp32", "seed": 0, "log_images": 10000,
            "sample_images": 200000, "evaluate_images": 0, "evaluate_pictures": 800, "evaluate_with": "",
            "save_minutes": 10.0, "max_bad_steps": 10},
  "sampler": {"preset": "published-t2i"},
  "flip": false
})");
}

TEST(TrainPreset, Mar) {
  expect_preset("mar", R"({
  "model": {"order": "mar", "conditioning": "class", "width": 768, "encoder_blocks": 12, "decoder_blocks": 12, "heads": 12,
            "head_dim": 0, "mlp_ratio": 4, "diffusion_width": 1024, "diffusion_blocks": 6,
            "latent_channels": 16, "latent_height": 16, "latent_width": 16, "patch": 1, "levels": 16,
            "filter": "spatial", "buffer_size": 64, "classes": 1000, "text_hidden": 0, "text_length": 0,
            "masked": true, "visible_level": 0, "predicts": "clean",
            "scales": [], "residual": false, "scale_std": [], "markov": false},
  "objective": {"target": "clean", "level_draw": "image", "level_power": 1.0, "mask": "truncated-normal",
                "mask_min_low": 0.7, "mask_min_high": 0.7, "visible_level": 0, "level_weight": false,
                "loss_over": "masked", "posterior_std": 1.0, "input_noise": 0.0, "diffusion_batch_mul": 4,
                "timestep_power": 1.0, "terminal_share": 0.0, "terminal_weight": 1.0, "vb_weight": 1.0,
                "label_dropout": 0.1, "attention_dropout": 0.1, "projection_dropout": 0.1,
                "loss_weight": "token", "scale_norm": false, "self_correct": 0.0},
  "train": {"images": 512466800, "batch": 2048, "micro_batch": 0, "lr": 0.0008,
            "lr_schedule": {"shape": "constant", "warmup_images": 128116700, "end": 0.0},
            "adamw": {"beta1": 0.9, "beta2": 0.95, "eps": 1e-08, "weight_decay": 0.02}, "grad_clip": 3.0,
            "ema": 0.9999, "ema_warmup": false, "precision": "fp32", "seed": 0, "log_images": 10000,
            "sample_images": 200000, "evaluate_images": 0, "evaluate_pictures": 800, "evaluate_with": "",
            "save_minutes": 10.0, "max_bad_steps": 10},
  "sampler": {},
  "flip": true
})");
}

TEST(TrainPreset, MarPaper) {
  expect_preset("mar-paper", R"({
  "model": {"order": "mar", "conditioning": "class", "width": 768, "encoder_blocks": 12, "decoder_blocks": 12, "heads": 12,
            "head_dim": 0, "mlp_ratio": 4, "diffusion_width": 1024, "diffusion_blocks": 6,
            "latent_channels": 16, "latent_height": 16, "latent_width": 16, "patch": 1, "levels": 16,
            "filter": "spatial", "buffer_size": 64, "classes": 1000, "text_hidden": 0, "text_length": 0,
            "masked": true, "visible_level": 0, "predicts": "clean",
            "scales": [], "residual": false, "scale_std": [], "markov": false},
  "objective": {"target": "clean", "level_draw": "image", "level_power": 1.0, "mask": "uniform",
                "mask_min_low": 0.7, "mask_min_high": 0.7, "visible_level": 0, "level_weight": false,
                "loss_over": "masked", "posterior_std": 1.0, "input_noise": 0.0, "diffusion_batch_mul": 4,
                "timestep_power": 1.0, "terminal_share": 0.0, "terminal_weight": 1.0, "vb_weight": 1.0,
                "label_dropout": 0.1, "attention_dropout": 0.1, "projection_dropout": 0.1,
                "loss_weight": "token", "scale_norm": false, "self_correct": 0.0},
  "train": {"images": 512466800, "batch": 2048, "micro_batch": 0, "lr": 0.0008,
            "lr_schedule": {"shape": "constant", "warmup_images": 128116700, "end": 0.0},
            "adamw": {"beta1": 0.9, "beta2": 0.95, "eps": 1e-08, "weight_decay": 0.02}, "grad_clip": 3.0,
            "ema": 0.9999, "ema_warmup": false, "precision": "fp32", "seed": 0, "log_images": 10000,
            "sample_images": 200000, "evaluate_images": 0, "evaluate_pictures": 800, "evaluate_with": "",
            "save_minutes": 10.0, "max_bad_steps": 10},
  "sampler": {},
  "flip": true
})");
}

TEST(TrainPreset, NoOthers) {
  EXPECT_EQ(train_preset_names(), (std::vector<std::string>{"paper", "published", "paper-t2i", "published-t2i", "mar", "mar-paper"}));
}

}  // namespace
}  // namespace crescendo
